// A shop's own product terms, and the words that the base model knows for them.

import {useLayoutEffect, useRef, useState} from "preact/hooks";
import {html} from "../html.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";

const SHOWN = 12;

/** @param {{value: Record<string, string>, catalogue: any, checked: any, onPut: (terms: Record<string, string>) => unknown}} properties */
export function Glossary({value, catalogue, checked, onPut}) {
    const [rows, setRows] = useState(Object.entries(value));
    const added = useRef(/** @type {HTMLTableSectionElement | null} */ (null));
    const [wanted, setWanted] = useState(/** @type {number | null} */ (null));
    useLayoutEffect(() => {
        // A new row is written at once: its term, or where that is there, the words for it.
        const fields = wanted === null ? [] : [...(added.current?.rows[wanted]?.querySelectorAll("input") || [])];
        fields.find((one) => !one.value)?.focus();
    }, [wanted]);
    const save = (/** @type {[string, string][]} */ changed) => {
        setRows(changed);
        return onPut(Object.fromEntries(changed.map(([term, words]) => [term.trim(), words.trim()]).filter(([term]) => term)));
    };
    const write = (/** @type {number} */ row, /** @type {number} */ column, /** @type {string} */ text) => (
        save(rows.map((one, index) => /** @type {[string, string]} */ (index === row ? one.map((before, place) => (place === column ? text : before)) : one))));
    const add = (term = "") => {
        setRows([...rows, [term, ""]]);
        setWanted(rows.length);
    };
    const known = new Set(rows.map(([term]) => term.trim()));
    const unknown = (checked ? checked.unknown : []).filter(({term}) => !known.has(term));
    if (catalogue.settings.language === "zh") return html`<p class="small">${t("glossary.off")}</p>`;
    return html`
        ${unknown.length > 0 && html`<div class="notice"><b>${t("glossary.unknown", {count: unknown.length})}</b><p class="small">${t("glossary.unknownWhat")}</p>
            <div class="row tight">${unknown.slice(0, SHOWN).map(({term, products}) => html`<button class="chip" onClick=${() => add(term)}>+ ${term} <span class="small soft">${t("catalogues.products", {count: products})}</span></button>`)}</div></div>`}
        ${rows.length > 0 && html`<table class="specs"><thead><tr><th scope="col">${t("glossary.term")}</th><th scope="col">${t("glossary.words")}</th><td></td></tr></thead>
            <tbody ref=${added}>${rows.map((row, index) => html`<tr key=${index}>
                <td><${DraftField} aria-label=${`${t("glossary.term")} ${index + 1}`} value=${row[0]} maxlength="60" onCommit=${(/** @type {string} */ text) => write(index, 0, text)} /></td>
                <td><${DraftField} aria-label=${`${t("glossary.words")} ${index + 1}`} value=${row[1]} maxlength="500" placeholder=${t("glossary.leaveOut")} onCommit=${(/** @type {string} */ text) => write(index, 1, text)} /></td>
                <td><button class="quiet" aria-label=${`${t("rules.remove")}: ${row[0] || index + 1}`} onClick=${() => save(rows.filter((_, other) => other !== index))}>×</button></td></tr>`)}</tbody></table>`}
        <div><button onClick=${() => add()}>${t("glossary.add")}</button></div>`;
}
