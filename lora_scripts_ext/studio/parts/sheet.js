// The images of a contact sheet: a row for each checkpoint, a column for each strength; or shuffled, without a word.

import {useMemo} from "preact/hooks";
import {address} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";
import {baseName, checkpointName, strengthText} from "./checkpoint.js";

const MARKS = ["A", "B"];
/** What the base model draws by itself. */
const BASE = {checkpoint: null, strength: 0};

export function Sheet({sheet, review, version, chosen, name, onChoose}) {
    const {suggested} = review;
    const base = sheet.cell(BASE);
    const used = version.published_as;
    const lead = (file) => suggested && baseName(suggested.checkpoint) === baseName(file);
    return html`<div class="scroll"><table class="sheet" onKeyDown=${move}>
        <caption class="hidden">${sheet.text}</caption>
        <thead><tr><th scope="col">${t("compare.checkpoint")}</th>
            ${sheet.strengths.map((strength) => html`<th scope="col"><span class="hidden">${t("compare.strength")} </span>${strengthText(strength)}</th>`)}</tr></thead>
        <tbody>${base && html`<tr><th scope="row">${t("compare.without")}</th>
            <td><${Cell} cell=${base} mark=${markOf(chosen, BASE)} label=${t("compare.without")} onChoose=${() => onChoose(BASE)} /></td></tr>`}
            ${sheet.checkpoints.map((one) => html`<tr>
            <th scope="row">${checkpointName(one)}
                ${lead(one.file) && html` <span class="pill ok">${t("compare.suggested")}</span>`}
                ${used && baseName(used.checkpoint) === baseName(one.file) && html` <span class="pill">${t("compare.published")}</span>`}</th>
            ${sheet.strengths.map((strength) => {
                const place = {checkpoint: one.file, strength};
                const best = lead(one.file) && suggested.strength === strength;
                return html`<td><${Cell} cell=${sheet.cell(place)} mark=${markOf(chosen, place)} best=${best}
                    label=${[name(place), best && t("compare.suggested")].filter(Boolean).join(", ")} onChoose=${() => onChoose(place)} /></td>`;
            })}</tr>`)}</tbody></table></div>`;
}

export function BlindSheet({sheet, chosen, onChoose}) {
    const order = useMemo(() => shuffled(sheet.places.length), [sheet.prompt, sheet.places.length]);
    return html`<p class="small soft">${t("compare.blindHint")}</p>
        <div class="blind" role="group" aria-label=${sheet.text} onKeyDown=${move}>${order.map((index, position) => {
            const cell = sheet.places[index];
            return html`<${Cell} key=${index} cell=${cell} mark=${markOf(chosen, cell)}
                label=${t("compare.number", {number: position + 1})} onChoose=${() => onChoose(cell)} />`;
        })}</div>`;
}

function Cell({cell, mark, best, label, onChoose}) {
    if (!cell || !cell.image) return html`<span class="missing" role="img" aria-label=${`${label}: ${t("compare.missing")}`}></span>`;
    return html`<button class=${`cell ${mark ? "on" : ""} ${best ? "best" : ""}`} aria-pressed=${Boolean(mark)} aria-label=${label} onClick=${onChoose}>
        <img src=${address(cell.image)} alt="" loading="lazy" decoding="async" />${mark && html`<em aria-hidden="true">${mark}</em>`}</button>`;
}

/** @param {any[]} chosen @param {any} place @returns {string} "A", "B" or nothing */
function markOf(chosen, place) {
    return MARKS[chosen.findIndex((one) => one.strength === place.strength && baseName(one.checkpoint) === baseName(place.checkpoint))] || "";
}

/** Arrow keys go from image to image. @param {KeyboardEvent} event */
function move(event) {
    const cells = [.../** @type {HTMLElement} */ (event.currentTarget).querySelectorAll("button.cell")];
    const index = cells.indexOf(/** @type {Element} */ (event.target));
    const sides = {ArrowLeft: () => cells[index - 1], ArrowRight: () => cells[index + 1], ArrowUp: () => beyond(cells, index, -1), ArrowDown: () => beyond(cells, index, 1)};
    if (index < 0 || !(event.key in sides)) return;
    event.preventDefault();
    /** @type {HTMLElement | undefined} */ (sides[event.key]())?.focus();
}

/** @param {Element[]} cells @param {number} index @param {number} way 1: down @returns {Element | undefined} the nearest in the next line */
function beyond(cells, index, way) {
    const {left, top} = cells[index].getBoundingClientRect();
    const others = cells.map((cell) => ({cell, box: cell.getBoundingClientRect()})).filter(({box}) => way * (box.top - top) > 1);
    others.sort((one, other) => way * (one.box.top - other.box.top) || Math.abs(one.box.left - left) - Math.abs(other.box.left - left));
    return others[0]?.cell;
}

/** @param {number} count @returns {number[]} 0 to `count`, in a random order */
function shuffled(count) {
    const order = [...Array(count).keys()];
    for (let index = count - 1; index > 0; index--) {
        const other = Math.floor(Math.random() * (index + 1));
        [order[index], order[other]] = [order[other], order[index]];
    }
    return order;
}
