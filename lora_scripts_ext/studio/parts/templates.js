// A shop's own templates: how each part of a prompt is worded for the products of some categories, on some channels.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";

const BETWEEN = ";";
const PARTS = ["subject", "attributes", "scene", "style", "surroundings", "negative"];
/** What a part may name of a product; a column of the list is an attribute. */
const PLACES = ["name", "category", "description", "tags"];

/** @typedef {Record<string, string | string[]>} Template */

/** @param {{value: Template[], catalogue: any, checked: any, onPut: (templates: Template[]) => unknown}} properties */
export function Templates({value, catalogue, checked, onPut}) {
    const put = (/** @type {number} */ index, /** @type {Template} */ one) => onPut(value.map((before, place) => (place === index ? one : before)));
    const columns = checked ? checked.headers.filter((header) => !Object.values(catalogue.columns).includes(header)) : [];
    const places = [...PLACES, ...columns.map((header) => `attributes.${header}`)].map((name) => `{${name}}`);
    return html`<p class="small">${t("templates.places")} ${places.map((place) => html`<code>${place}</code> `)}</p>
        ${value.map((one, index) => html`<${One} key=${index} template=${one} number=${index + 1} categories=${catalogue.categories}
            onPut=${(/** @type {Template} */ changed) => put(index, changed)} onRemove=${() => onPut(value.filter((_, place) => place !== index))} />`)}
        ${checked && checked.examples.map((one) => html`<p class="small soft">${t("rules.example", {sku: one.sku})} ${one.prompt}</p>`)}
        <div><button onClick=${() => onPut([...value, {}])}>${t("templates.add")}</button></div>`;
}

/** @param {string | string[] | undefined} patterns @returns {string} as they are written in a field */
const written = (patterns) => [patterns || []].flat().join(`${BETWEEN} `);
/** @param {string} text */
const patterns = (text) => text.split(BETWEEN).map((one) => one.trim()).filter(Boolean);

function One({template, number, categories, onPut, onRemove}) {
    const label = t("templates.number", {number});
    const without = (/** @type {string} */ key) => Object.fromEntries(Object.entries(template).filter(([one]) => one !== key));
    const forOnly = (/** @type {string} */ key, /** @type {string} */ text) => onPut(patterns(text).length ? {...template, [key]: patterns(text)} : without(key));
    return html`<fieldset class="rule"><legend>${label}</legend>
        <div class="row tight"><span>${t("templates.category")}</span><${DraftField} class="grow" aria-label=${`${t("templates.category")}, ${label}`} list=${`categories-${number}`}
                placeholder=${t("templates.all")} value=${written(template.category)} onCommit=${(/** @type {string} */ text) => forOnly("category", text)} />
            <span>${t("templates.channel")}</span><${DraftField} class="grow" aria-label=${`${t("templates.channel")}, ${label}`} placeholder=${t("templates.all")}
                value=${written(template.channel)} onCommit=${(/** @type {string} */ text) => forOnly("channel", text)} /></div>
        <datalist id=${`categories-${number}`}>${categories.map((one) => html`<option value=${one}></option>`)}</datalist>
        ${PARTS.map((part) => html`<${Part} key=${part} part=${part} label=${label} text=${template[part]} onPut=${(/** @type {string | undefined} */ text) => (
            onPut(text === undefined ? without(part) : {...template, [part]: text}))} />`)}
        <div class="row tight"><span class="space"></span><button class="quiet small" aria-label=${`${t("rules.remove")}: ${label}`} onClick=${onRemove}>✕</button></div>
    </fieldset>`;
}

// As usual: what the next template says of it, or those that ship.
function Part({part, label, text, onPut}) {
    const [open, setOpen] = useState(false);
    const how = text === undefined ? (open ? "own" : "usual") : text || open ? "own" : "none";
    const choose = (/** @type {string} */ chosen) => {
        setOpen(chosen === "own");
        if (chosen === "usual") onPut(undefined);
        if (chosen === "none") onPut("");
    };
    const name = t(`templates.part.${part}`);
    return html`<div class="row tight"><span class="part">${name}</span>
        <select aria-label=${`${name}, ${label}`} value=${how} onChange=${typed(choose)}>
            ${["usual", "own", "none"].map((one) => html`<option value=${one}>${t(`templates.${one}`)}</option>`)}</select>
        ${how === "own" && html`<${DraftField} class="grow" aria-label=${`${name}, ${label}, ${t("templates.own")}`} maxlength="2000" value=${text || ""} onCommit=${(/** @type {string} */ changed) => {
            setOpen(true);
            onPut(changed);
        }} />`}</div>`;
}
