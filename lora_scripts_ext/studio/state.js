// What all screens share: where the user is, what the server is doing, whether it answers.

import {signal} from "@preact/signals";
import {follow, get, locked, Problem} from "./api.js";

/** The parts of the address behind "#/", such as ["models", ID, "images"]. */
export const route = signal(parts());
/** Whether the server answers. */
export const online = signal(true);
/** GET /system; null before the first answer. @type {import("@preact/signals").Signal<any>} */
export const system = signal(null);
/** The jobs that run, wait or have ended lately. @type {import("@preact/signals").Signal<any[] | null>} */
export const jobs = signal(null);
/** GET /queue. @type {import("@preact/signals").Signal<{paused: boolean, counts: Record<string, number>} | null>} */
export const queue = signal(null);

/** What a model may be of. */
export const KINDS = ["brand_style", "season", "scene", "product", "character", "car"];
/** Whether somebody has logged in here with a key. */
export const keyed = signal(false);
/** States of a job that does not change any more. */
export const ENDED = ["done", "failed", "stopped", "cancelled"];
/** @param {any} job @returns {boolean} whether it waits or runs */
export const isOpen = (job) => !ENDED.includes(job.state);
/** Whether the page is part of a WebUI's, which can then try a LoRA at once. */
export const framed = window.parent !== window;

/** @param {string} prompt to be written into txt2img @param {string} model path of the checkpoint to be used there */
export function tryPrompt(prompt, model) {
    const checkpoint = (model || "").split(/[\\/]/).pop();
    window.parent.postMessage({type: "lora-trainer/try", prompt, checkpoint}, location.origin);
}

const JOBS_PERIOD = 1500;
const SYSTEM_PERIOD = 5000;
const SHOWN_JOBS = 200;

function parts() {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);
}

/** @param {string} part @returns {string} */
function decoded(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        // An address that somebody has typed.
        return part;
    }
}

/** @param {...string} where the parts of the new address */
export function go(...where) {
    location.hash = link(...where);
}

/** @param {...string} where @returns {string} an address for a link */
export const link = (...where) => `#/${where.map(encodeURIComponent).join("/")}`;

/**
 * Do `work`, and note whether the server answers.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T | undefined>}
 */
export async function attempt(work) {
    try {
        const value = await work();
        online.value = true;
        return value;
    } catch (error) {
        if (!(error instanceof Problem)) throw error;
        online.value = error.code !== "offline";
        return undefined;
    }
}

/** Fetch the jobs now, rather than at the next turn. */
export async function refreshJobs() {
    const [page, state] = (await attempt(() => Promise.all([get(`jobs?limit=${SHOWN_JOBS}`), get("queue")]))) || [];
    if (page) jobs.value = page.items;
    if (state) queue.value = state;
}

/** Fetch what the server is and has. */
export async function refreshSystem() {
    const found = await attempt(() => get("system"));
    if (found) system.value = found;
}

/** Ask who this browser is to the server. */
export async function refreshSession() {
    const found = await attempt(() => get("session"));
    if (found) keyed.value = found.needed && found.scope !== null;
}

/** @param {() => Promise<void>} work @param {number} period in milliseconds, while the page is seen */
function repeat(work, period) {
    const turn = async () => {
        if (!document.hidden && !locked.value) await work();
        setTimeout(turn, period);
    };
    turn();
}

/** Begin to follow the server; called once. */
export function start() {
    addEventListener("hashchange", () => {
        route.value = parts();
    });
    // Another one may have come while the words were fetched.
    route.value = parts();
    refreshSession();
    repeat(refreshJobs, JOBS_PERIOD);
    repeat(refreshSystem, SYSTEM_PERIOD);
    // A change of a job shows at once, not only at the next turn.
    follow("events", ["state"], refreshJobs);
}
