// The products of a catalogue that a filter leaves, page by page. What is shown stays where it is, whatever becomes of
// it, until the filter changes: a decision must not move the rows under whoever decides.

import {useEffect, useRef, useState} from "preact/hooks";
import {get} from "../api.js";
import {attempt} from "../state.js";

const PAGE = 40;
const RENEWED = 12;

/**
 * @param {string} path of the catalogue
 * @param {Record<string, string>} filter `state`, `category`, `search`
 */
export function useProducts(path, filter) {
    const [items, setItems] = useState(/** @type {any[] | null} */ (null));
    const [hasMore, setHasMore] = useState(false);
    const next = useRef(/** @type {string | null} */ (null));
    const query = new URLSearchParams({limit: String(PAGE), ...filter}).toString();
    const newest = useRef(query);
    const busy = useRef(false);
    newest.current = query;
    const load = async (/** @type {string} */ cursor) => {
        const page = await attempt(() => get(`${path}/products?${query}&cursor=${encodeURIComponent(cursor)}`));
        if (!page || newest.current !== query) return [];
        setItems((before) => (cursor && before ? [...before, ...page.items] : page.items));
        next.current = page.next;
        setHasMore(Boolean(page.next));
        return page.items;
    };
    useEffect(() => {
        setItems(null);
        load("");
    }, [path, query]);
    /** @returns {Promise<any[]>} the products that came */
    const more = async () => {
        if (!next.current || busy.current) return [];
        busy.current = true;
        try {
            return await load(next.current);
        } finally {
            busy.current = false;
        }
    };
    const put = (/** @type {any} */ product) => setItems((before) => before && before.map((one) => (one.id === product.id ? product : one)));
    /** Fetch those again that are being drawn, the ones around `index` first. @param {number} index */
    const renew = (index) => {
        const waiting = (items || []).map((one, place) => ({one, far: Math.abs(place - index)}))
            .filter(({one}) => one.candidates.some((candidate) => candidate.state === "waiting"));
        waiting.sort((one, other) => one.far - other.far);
        return Promise.all(waiting.slice(0, RENEWED).map(({one}) => attempt(async () => put(await get(`${path}/products/${one.id}`)))));
    };
    return {items, hasMore, more, put, renew, reload: () => load("")};
}
