// What people do with the products of a catalogue, each of which can be taken back.

import {useRef, useState} from "preact/hooks";
import {get, patch, post} from "../api.js";
import {refreshJobs} from "../state.js";
import {t} from "../words.js";
import {signature} from "./signature.js";
import {useWork} from "./work.js";

const KEPT = 100;

/** @typedef {{label: string, product: number, back: () => Promise<unknown>}} Step that can be taken back */

/**
 * @param {string} path of the catalogue
 * @param {(product: any) => void} put shows a product as it is now
 * @param {() => unknown} refresh fetches the catalogue's counts
 */
export function useChoosing(path, put, refresh) {
    const [problem, work] = useWork();
    const [steps, setSteps] = useState(/** @type {Step[]} */ ([]));
    // One after the other: a second key must not overtake the first.
    const last = useRef(/** @type {Promise<unknown>} */ (Promise.resolve()));
    const show = async (/** @type {number} */ id) => put(await get(`${path}/products/${id}`));
    const act = (/** @type {number} */ id, /** @type {() => Promise<unknown>} */ what) => {
        const done = last.current.then(() => work(async () => {
            try {
                await what();
            } finally {
                await show(id);
                refresh();
            }
        }));
        last.current = done;
        return done;
    };
    const decide = (/** @type {number} */ id, /** @type {number} */ number, /** @type {string} */ verdict, more = {}) => post(
        `${path}/products/${id}/candidates/${number}/decisions`, {verdict, who: signature(), ...more});
    const restored = async (/** @type {number} */ id, /** @type {any[]} */ before) => {
        for (const {number, verdict, crop} of before) await decide(id, number, verdict || "undecided", verdict ? {crop} : {});
    };
    /** Note what can be taken back. @param {string} label @param {any} product @param {() => Promise<unknown>} back */
    const note = (label, product, back) => setSteps((before) => [...before, {label: `${label}: ${product.title || product.sku}`, product: product.id, back}].slice(-KEPT));
    /** @param {any} product @param {any[]} changed candidates as they are @param {string} label @param {(one: any) => Promise<unknown>} what */
    const change = (product, changed, label, what) => act(product.id, async () => {
        note(label, product, () => restored(product.id, changed));
        for (const one of changed) await what(one);
    });
    return {
        problem, undoable: steps[steps.length - 1], act: work,
        /** Approve a candidate; one that is approved becomes undecided. @param {any} product @param {any} one */
        choose: (product, one) => (one.verdict === "approved"
            ? change(product, [one], t("choose.takenBack", {number: one.number}), () => decide(product.id, one.number, "undecided"))
            : change(product, [one], t("choose.approved", {number: one.number}), () => decide(product.id, one.number, "approved", {crop: one.crop}))),
        /** @param {any} product @param {any} one @param {number[] | null} crop */
        crop: (product, one, crop) => change(product, [one], t("choose.cropped", {number: one.number}), () => decide(product.id, one.number, "approved", {crop})),
        /** @param {any} product */
        reject: (product) => change(product, product.candidates.filter((one) => one.state === "drawn" && one.verdict !== "rejected"),
            t("choose.rejected"), (one) => decide(product.id, one.number, "rejected")),
        /** @param {any} product @param {any} one @param {string} comment */
        comment: (product, one, comment) => act(product.id, () => decide(product.id, one.number, "comment", {comment})),
        /** @param {any} product */
        more: (product) => act(product.id, async () => {
            await post(`${path}/products/${product.id}/candidates`, {count: 1, who: signature()});
            await refreshJobs();
        }),
        /** Draw what of these could not be drawn, or is not drawn yet. @param {any} product */
        retry: (product) => act(product.id, async () => {
            await post(`${path}/generate`, {products: [product.id]});
            await refreshJobs();
        }),
        /** @param {any} product @param {Record<string, unknown>} values @param {string} label */
        edit: (product, values, label) => act(product.id, async () => {
            const before = Object.fromEntries(Object.keys(values).map((name) => [name, product.edited.includes(name) ? product[name] : null]));
            await patch(`${path}/products/${product.id}`, values);
            note(label, product, () => patch(`${path}/products/${product.id}`, before));
        }),
        /** What the shop says of it; null: nothing. @param {any} product @param {any} copy */
        write: (product, copy) => act(product.id, async () => {
            const before = product.copy;
            await patch(`${path}/products/${product.id}`, {copy});
            note(t("copy.title"), product, () => patch(`${path}/products/${product.id}`, {copy: before}));
        }),
        /** Take the last step back. @returns {Promise<unknown>} */
        undo: async () => {
            const step = steps[steps.length - 1];
            if (!step) return;
            setSteps(steps.slice(0, -1));
            await act(step.product, step.back);
        },
    };
}
