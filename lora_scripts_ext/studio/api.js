// The client of /lora-trainer/v1, the only way the page knows anything.

import {signal} from "@preact/signals";
import {tongue} from "./words.js";

/** Whether the server wants a key that this browser has not shown. */
export const locked = signal(false);

/**
 * What a request is answered with when it fails: problem JSON.
 * @typedef {{status: number, code: string, detail: string, field: string | null, remedy: string}} ProblemJson
 */

/** An answer other than success, or none at all (`code` is then "offline"). */
export class Problem extends Error {
    /** @param {ProblemJson} problem */
    constructor(problem) {
        super(problem.detail);
        this.status = problem.status;
        this.code = problem.code;
        this.field = problem.field;
        this.remedy = problem.remedy;
    }
}

/** @type {ProblemJson} */
const OFFLINE = {status: 0, code: "offline", detail: "", field: null, remedy: ""};
// Relative to this file: under a sub-path, behind a proxy and in a frame of a WebUI alike.
const ROOT = new URL("../v1/", import.meta.url);

/**
 * The address of a route, which the API gives with its prefix.
 * @param {string} path such as "jobs", or "/lora-trainer/v1/jobs/1"
 * @returns {string}
 */
export function address(path) {
    return new URL(path.replace(/^\/lora-trainer\/v1\//, ""), ROOT).href;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body] sent as JSON; a Blob as it is
 * @param {{signal?: AbortSignal, key?: string}} [options] `key` makes a repeated POST harmless
 * @returns {Promise<any>} the answer's JSON; undefined where it has none
 */
export async function request(method, path, body, options = {}) {
    const headers = new Headers({"Accept-Language": tongue()});
    const blob = body instanceof Blob;
    if (body !== undefined && !blob) headers.set("Content-Type", "application/json");
    if (options.key) headers.set("Idempotency-Key", options.key);
    let response;
    try {
        response = await fetch(address(path), {
            method, headers, signal: options.signal, body: body === undefined ? undefined : blob ? body : JSON.stringify(body),
        });
    } catch (error) {
        if (error instanceof DOMException && error.name === "AbortError") throw error;
        throw new Problem(OFFLINE);
    }
    const text = await response.text();
    const value = text ? parse(text) : undefined;
    if (response.ok) return value;
    if (response.status === 401) locked.value = true;
    throw new Problem(value && value.code ? value : unexpected(response));
}

/** @param {Response} response @returns {ProblemJson} */
const unexpected = (response) => ({
    status: response.status, code: "unexpected", detail: `${response.status} ${response.statusText}`, field: null, remedy: "",
});

/** @param {string} path @param {{signal?: AbortSignal}} [options] */
export const get = (path, options) => request("GET", path, undefined, options);
/** @param {string} path @param {unknown} [body] */
export const post = (path, body = {}) => request("POST", path, body, {key: crypto.randomUUID?.()});
/** @param {string} path @param {unknown} body */
export const patch = (path, body) => request("PATCH", path, body);
/** @param {string} path */
export const remove = (path) => request("DELETE", path);

/**
 * Fetch a text, such as a log.
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function getText(path) {
    try {
        const response = await fetch(address(path), {headers: {"Accept-Language": tongue()}});
        if (response.ok) return await response.text();
        const value = parse(await response.text());
        throw new Problem(value && value.code ? value : unexpected(response));
    } catch (error) {
        if (error instanceof Problem) throw error;
        throw new Problem(OFFLINE);
    }
}

/** @param {string} name of an image, which may hold folders @returns {string} */
export const encodePath = (name) => name.split("/").map(encodeURIComponent).join("/");

/** All items of a list that comes in pages.
 * @param {string} path with a query
 * @returns {Promise<any[]>}
 */
export async function getAll(path) {
    const items = [];
    let cursor = "";
    do {
        const page = await get(`${path}&limit=1000&cursor=${encodeURIComponent(cursor)}`);
        items.push(...page.items);
        cursor = page.next;
    } while (cursor);
    return items;
}

/**
 * Follow a stream of events; the browser connects again by itself, from the last event on.
 * @param {string} path
 * @param {string[]} names of the events, such as "state" and "step"
 * @param {(event: any) => void} listen called with each event's data
 * @param {(online: boolean) => void} [state] called when the connection is lost or back
 * @returns {() => void} ends it
 */
export function follow(path, names, listen, state = () => {}) {
    const source = new EventSource(`${address(path)}?lang=${tongue()}`);
    source.onopen = () => state(true);
    source.onerror = () => state(false);
    const take = (/** @type {MessageEvent} */ message) => listen(parse(message.data));
    for (const name of names) source.addEventListener(name, take);
    return () => source.close();
}

/** @param {string} text */
function parse(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}
