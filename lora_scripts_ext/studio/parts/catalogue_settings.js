// The settings of a catalogue as they are written on the page: shown at once, sent one change after the other.

import {useRef, useState} from "preact/hooks";
import {patch} from "../api.js";
import {useWork} from "./work.js";

// What the server has of these is a file; what was handed in is not shown in its place.
const FILES = ["rules", "templates", "glossary"];

/** @typedef {(values: Record<string, unknown>) => Promise<unknown>} SetSettings */

/**
 * @param {any} catalogue
 * @param {string} path of it
 * @param {{onChange: (catalogue: any) => void, refresh: () => Promise<unknown>, onKept: (values: Record<string, unknown>) => unknown}} properties
 *     `onKept`: called with what the server has taken
 * @returns {{settings: any, set: SetSettings, settled: () => Promise<unknown>, problem: import("../api.js").Problem | null}}
 *     `settled`: when the server has every setting
 */
export function useSettings(catalogue, path, {onChange, refresh, onKept}) {
    const [problem, work] = useWork();
    const [pending, setPending] = useState(/** @type {Record<string, unknown>} */ ({}));
    const unsent = useRef(/** @type {Record<string, unknown>} */ ({}));
    const last = useRef(/** @type {Promise<unknown>} */ (Promise.resolve()));
    const send = async () => {
        const values = unsent.current;
        unsent.current = {};
        // Sent along with an earlier change.
        if (!Object.keys(values).length) return;
        const kept = await work(async () => onChange(await patch(path, values)));
        if (!kept) await refresh();
        setPending((before) => Object.fromEntries(Object.entries(before).filter(([key]) => key in unsent.current)));
        if (kept) await onKept(values);
    };
    const set = (/** @type {Record<string, unknown>} */ values) => {
        unsent.current = {...unsent.current, ...values};
        setPending((before) => ({...before, ...values}));
        last.current = last.current.then(send);
        return last.current;
    };
    const shown = Object.fromEntries(Object.entries(pending).filter(([key]) => !FILES.includes(key)));
    return {settings: {...catalogue.settings, ...shown}, set, settled: () => last.current, problem};
}
