// A list of which only what is seen is drawn: thousands of tiles scroll as a few dozen do.

import {useEffect, useLayoutEffect, useRef, useState} from "preact/hooks";
import {html} from "../html.js";

const GAP = 10;
// Rows drawn beyond both edges of the window, so that fast scrolling meets no empty ones.
const MARGIN = 4;

/**
 * @template T
 * @param {{items: T[], minimum: number, height: (width: number) => number, label: string, tile: (item: T, index: number) => any}} properties
 *     `minimum`: least width of a tile in pixels; `height`: a tile's height, of its width; `tile`: draws one, an <li>
 */
export function Grid({items, minimum, height, label, tile}) {
    const list = useRef(/** @type {HTMLUListElement | null} */ (null));
    const [width, setWidth] = useState(0);
    const [rows, setRows] = useState([0, 0]);
    const columns = Math.max(1, Math.floor((width + GAP) / (minimum + GAP)));
    const side = (width - GAP * (columns - 1)) / columns;
    const row = height(side) + GAP;
    const count = Math.ceil(items.length / columns);
    useLayoutEffect(() => {
        const element = list.current;
        if (!element) return undefined;
        const observer = new ResizeObserver(() => setWidth(element.clientWidth));
        observer.observe(element);
        setWidth(element.clientWidth);
        return () => observer.disconnect();
    }, []);
    useEffect(() => {
        const look = () => {
            if (!list.current) return;
            const top = -list.current.getBoundingClientRect().top;
            const first = Math.max(0, Math.floor(top / row) - MARGIN);
            const last = Math.min(count, Math.ceil((top + innerHeight) / row) + MARGIN);
            setRows((before) => (before[0] === first && before[1] === last ? before : [first, last]));
        };
        look();
        addEventListener("scroll", look, {passive: true});
        addEventListener("resize", look);
        return () => {
            removeEventListener("scroll", look);
            removeEventListener("resize", look);
        };
    }, [row, count]);
    const [first, last] = rows;
    const shown = width ? items.slice(first * columns, last * columns) : [];
    return html`
        <ul ref=${list} class="grid" aria-label=${label} style=${{
            gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`, gridAutoRows: `${row - GAP}px`,
            paddingTop: `${Math.min(first, count) * row}px`, paddingBottom: `${Math.max(0, count - last) * row}px`,
        }}>${shown.map((item, index) => tile(item, first * columns + index))}</ul>`;
}
