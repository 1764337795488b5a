// The images of a model, fetched page by page until all are there.

import {useCallback, useEffect, useRef, useState} from "preact/hooks";
import {get} from "../api.js";
import {attempt} from "../state.js";

const FIRST = 100;
const REST = 1000;

/**
 * @typedef {{items: any[], counts: any, skipped: {name: string, reason: string}[], warnings: string[], complete: boolean}} Found
 * @param {string} model
 * @param {string} show which of them, as GET /models/{id}/images takes it
 * @param {string} search
 * @param {string} stamp fetched again whenever it changes
 * @returns {[Found | null, () => Promise<void>]} what is there so far; fetches it again
 */
export function useImages(model, show, search, stamp) {
    const [found, setFound] = useState(/** @type {Found | null} */ (null));
    const turn = useRef(0);
    const shown = useRef("");
    const load = useCallback(async () => {
        const mine = ++turn.current;
        const key = JSON.stringify([model, show, search]);
        /** @type {any[]} */
        let items = [];
        let cursor = "";
        do {
            const query = new URLSearchParams({show, search, limit: String(cursor ? REST : FIRST), cursor});
            const page = await attempt(() => get(`models/${model}/images?${query}`));
            if (!page || mine !== turn.current) return;
            items = items.concat(page.items);
            cursor = page.next || "";
            // The first hundred at once; but a list that is only refreshed does not become short meanwhile.
            if (!cursor || shown.current !== key) setFound({...page, items, complete: !cursor});
        } while (cursor);
        shown.current = key;
    }, [model, show, search]);
    useEffect(() => {
        load();
    }, [load, stamp]);
    return [found, load];
}
