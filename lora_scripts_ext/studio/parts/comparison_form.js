// What is asked for of a comparison: as it is written on the page, and as the config of its job.

import {asLora} from "./lora_fields.js";

/** @typedef {{name: string, weight: number}} Lora a path is a file */
/** @typedef {{from: string, name: string, prompt: string, lora: Lora, further: Lora[], catalogue: string, product: string, photo: string, mask: string, file: string, draw: boolean}} Side
 * `further`: LoRAs beside `lora`, as an earlier comparison had them; `file`: what the photo is called
 */
/** @type {Side} */
const EMPTY = {from: "words", name: "", prompt: "", lora: {name: "", weight: 1}, further: [], catalogue: "", product: "", photo: "", mask: "", file: "", draw: false};
/** Settings that count as usual where they are empty; those of numbers. */
export const NUMBERS = ["steps", "cfg_scale", "seed"];
const TEXTS = ["negative", "producer", "base_model"];

/** Nothing yet. */
export const BLANK = {left: EMPTY, right: EMPTY, rows: [["", "", ""]], title: "", layout: "wide", weights: "0.6, 0.8, 1", more: /** @type {Record<string, string>} */ ({})};
/** @typedef {typeof BLANK} Form */

/** @param {Side} side @returns {boolean} whether it says what is compared */
export function isReady(side) {
    if (side.from === "catalogue") return Boolean(side.catalogue && side.product);
    return Boolean(side.from === "photo" ? side.photo : side.prompt.trim());
}

/** @param {Form} form @returns {Record<string, unknown>} the config of its job */
export function config({left, right, rows, title, layout, weights, more}) {
    const numbers = weights.split(/[,，;\s]+/).filter(Boolean).map((text) => (Number.isNaN(Number(text)) ? text : Number(text)));
    const specs = rows.filter((row) => row.some((text) => text.trim()));
    const given = Object.entries(more).filter(([, text]) => text.trim()).map(([key, text]) => [key, NUMBERS.includes(key) ? Number(text) : text.trim()]);
    return {left: sideConfig(left), right: sideConfig(right), specs, title: title.trim(), layout, ...(numbers.length ? {weights: numbers} : {}), ...Object.fromEntries(given)};
}

/** @param {Side} side */
function sideConfig(side) {
    const name = side.name.trim() ? {name: side.name.trim()} : {};
    if (side.from === "photo") return {...name, photo: side.photo, ...(side.mask ? {mask: side.mask} : {})};
    const named = [side.lora, ...side.further].filter((one) => one.name.trim());
    const loras = named.length ? {loras: named.map((one) => asLora({...one, name: one.name.trim()}))} : {};
    if (side.from === "words") return {...name, prompt: side.prompt.trim(), ...loras};
    return {...name, ...loras, catalogue: side.catalogue, product: side.product, ...(side.draw ? {photo: ""} : {})};
}

/** @param {any} of the config of a job, in which products of a catalogue stand as they were @returns {Form} */
export function formOf(of) {
    const more = [...NUMBERS, ...TEXTS].filter((key) => of[key] !== undefined && of[key] !== "").map((key) => [key, String(of[key])]);
    return {
        left: sideOf(of.left), right: sideOf(of.right), rows: of.specs.length ? of.specs : BLANK.rows, title: of.title || "", layout: of.layout || "wide",
        weights: (of.weights || []).join(", "), more: Object.fromEntries(more),
    };
}

/** @param {any} of @returns {Side} */
function sideOf(of) {
    const [lora = EMPTY.lora, ...further] = (of.loras || []).map((one) => ({name: one.name || one.file, weight: one.weight}));
    return {...EMPTY, from: of.photo ? "photo" : "words", name: of.name || "", prompt: of.prompt || "", lora, further, photo: of.photo || "", mask: of.mask || "",
        file: (of.photo || "").split(/[\\/]/).pop() || ""};
}
