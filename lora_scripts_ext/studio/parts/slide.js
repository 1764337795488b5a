// Two images over each other, with an edge between them that is dragged; both larger, side by side moved.

import {useState} from "preact/hooks";
import {address} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";

const ZOOMS = [1, 2, 4, 8];
/** @param {number} zoom @returns {string} the width of an image: at 1 all of it is seen */
export const width = (zoom) => `calc(${zoom} * min(100%, 62vh))`;

/** @param {{left: any, right: any, names: [string, string], zoom?: number}} properties two cells of a sheet, and what they are called */
export function Slide({left, right, names, zoom = 1}) {
    const [share, setShare] = useState(50);
    const drag = (/** @type {PointerEvent} */ event) => {
        // Larger than its frame, it is dragged to be moved.
        if (zoom > 1 || !(event.buttons & 1)) return;
        const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
        setShare(Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width)));
    };
    return html`<div class="slide">
        <div class="window" tabindex=${zoom > 1 ? 0 : undefined} role=${zoom > 1 ? "group" : undefined} aria-label=${zoom > 1 ? t("compare.window") : undefined}>
            <div class=${zoom > 1 ? "over large" : "over"} style=${{width: width(zoom)}} onPointerDown=${drag} onPointerMove=${drag}>
                <img src=${address(left.image)} alt=${names[0]} draggable=${false} />
                <img src=${address(right.image)} alt=${names[1]} draggable=${false} style=${{clipPath: `inset(0 0 0 ${share}%)`}} />
                <i style=${{left: `${share}%`}}></i>
            </div></div>
        <input type="range" min="0" max="100" value=${share} aria-label=${t("compare.slide", {left: names[0], right: names[1]})}
            onInput=${(event) => setShare(Number(event.target.value))} />
        <div class="row tight small"><b>◧ ${names[0]}</b><span class="space"></span><b>${names[1]} ◨</b></div>
    </div>`;
}

/** @param {{zoom: number, onZoom: (zoom: number) => void}} properties */
export function Zoom({zoom, onZoom}) {
    const index = ZOOMS.indexOf(zoom);
    const button = (/** @type {number} */ step, /** @type {string} */ sign, /** @type {string} */ word) => html`
        <button aria-label=${t(word)} title=${t(word)} disabled=${!ZOOMS[index + step]} onClick=${() => onZoom(ZOOMS[index + step])}>${sign}</button>`;
    return html`<div class="row tight">${button(-1, "−", "compare.smaller")}<span aria-live="polite">${zoom} ×</span>${button(1, "+", "compare.larger")}</div>`;
}
