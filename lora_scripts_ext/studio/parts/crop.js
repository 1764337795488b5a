// A part of an image: shaded around it, and chosen by dragging or by numbers.

import {useRef, useState} from "preact/hooks";
import {address} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";

/** Left, top, right and bottom, as shares of the image's width and height. @typedef {[number, number, number, number]} Box */

/** @type {Box} */
const WHOLE = [0, 0, 1, 1];
const EDGES = ["left", "top", "right", "bottom"];
const LEAST = 0.02;

/** @param {{crop: Box | null}} properties darkens what is outside of it */
export function Shade({crop}) {
    if (!crop) return null;
    const [left, top, right, bottom] = crop;
    return html`<div class="shade" aria-hidden="true" style=${{
        left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
    }}></div>`;
}

/** @param {{image: any, onSave: (change: Record<string, unknown>) => unknown, onCancel: () => void}} properties */
export function Crop({image, onSave, onCancel}) {
    const [box, setBox] = useState(/** @type {Box} */ (image.crop || WHOLE));
    const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
    const start = useRef(/** @type {[number, number] | null} */ (null));
    const at = (/** @type {PointerEvent} */ event) => {
        const place = /** @type {HTMLDivElement} */ (frame.current).getBoundingClientRect();
        const share = (/** @type {number} */ value) => Math.max(0, Math.min(1, value));
        return /** @type {[number, number]} */ ([
            share((event.clientX - place.left) / place.width), share((event.clientY - place.top) / place.height)]);
    };
    const down = (/** @type {PointerEvent} */ event) => {
        event.preventDefault();
        frame.current?.setPointerCapture(event.pointerId);
        start.current = at(event);
    };
    const move = (/** @type {PointerEvent} */ event) => {
        if (!start.current) return;
        const [x, y] = at(event);
        const [fromX, fromY] = start.current;
        setBox([Math.min(x, fromX), Math.min(y, fromY), Math.max(x, fromX), Math.max(y, fromY)]);
    };
    const up = () => {
        start.current = null;
        // A click without a drag takes the whole image again.
        setBox((now) => (now[2] - now[0] < LEAST || now[3] - now[1] < LEAST ? WHOLE : now));
    };
    const edge = (/** @type {number} */ index, /** @type {string} */ percent) => {
        const changed = /** @type {Box} */ ([...box]);
        changed[index] = Math.max(0, Math.min(1, Number(percent) / 100));
        if (changed[2] - changed[0] >= LEAST && changed[3] - changed[1] >= LEAST) setBox(changed);
    };
    const whole = box.every((value, index) => value === WHOLE[index]);
    return html`
        <div class="stage">
            <div class="frame cropping" ref=${frame} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up}>
                <img src=${original(image)} alt=${image.name} draggable=${false} /><${Shade} crop=${box} /></div>
            <p class="small soft">${t("crop.hint")}</p>
            <div class="row tight">
                ${EDGES.map((name, index) => html`<label class="small">${t(`crop.${name}`)} <${DraftField} type="number" class="short" min="0" max="100"
                    value=${Math.round(100 * box[index])} onCommit=${(/** @type {string} */ percent) => edge(index, percent)} /> %</label>`)}
            </div>
            <div class="row tight"><button class="main" onClick=${() => onSave({crop: whole ? null : box})}>${t("crop.save")}</button>
                <button onClick=${onCancel}>${t("cancel")}</button></div>
        </div>`;
}

/** @param {any} image @returns {string} rotated, but not cropped */
function original(image) {
    const url = new URL(address(image.thumbnail));
    url.searchParams.set("size", "640");
    url.searchParams.set("uncropped", "true");
    return url.href;
}
