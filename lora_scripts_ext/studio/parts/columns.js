// Which column of a product list was taken for what, with an example; each can be corrected.

import {useEffect, useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";

const MAIN = ["sku", "title", "category", "description", "tags", "photo"];
const FURTHER = ["mask", "control", "reference", "prompt", "negative"];

/** @param {{checked: any, path: string, stamp: string, onMap: (columns: Record<string, string>) => unknown}} properties */
export function Columns({checked, path, stamp, onMap}) {
    const [product, setProduct] = useState(/** @type {any} */ (null));
    useEffect(() => {
        attempt(async () => setProduct((await get(`${path}/products?limit=1`)).items[0] || null));
    }, [stamp]);
    const {columns, headers} = checked;
    if (!headers.length) return null;
    const used = Object.values(columns);
    const rest = headers.filter((header) => !used.includes(header));
    const map = (/** @type {string} */ field, /** @type {string} */ header) => {
        // A column that is taken for something else comes here.
        const others = Object.entries(columns).filter(([name, one]) => name !== field && one && one === header).map(([name]) => [name, ""]);
        return onMap({...columns, ...Object.fromEntries(others), [field]: header});
    };
    const row = (/** @type {string} */ field) => html`<tr><th scope="row"><label for=${`column-${field}`}>${t(`column.${field}`)}</label></th>
        <td><select id=${`column-${field}`} value=${columns[field] || ""} onChange=${typed((header) => map(field, header))}>
            <option value="">${t("column.none")}</option>${headers.map((header) => html`<option value=${header}>${header}</option>`)}</select></td>
        <td class="small soft">${example(product, field)}</td></tr>`;
    const table = (/** @type {string[]} */ fields) => html`<table class="columns"><thead class="hidden"><tr><th scope="col">${t("column.field")}</th><th scope="col">${t("column.column")}</th>
        <th scope="col">${t("column.example")}</th></tr></thead><tbody>${fields.map(row)}</tbody></table>`;
    return html`<div><p class="soft small">${t("column.what")}</p>${table(MAIN)}
        <details open=${FURTHER.some((field) => columns[field])}><summary>${t("column.further")}</summary>${table(FURTHER)}</details>
        ${rest.length > 0 && html`<p class="small soft">${t("column.attributes")} ${rest.map((header) => html`<span class="tag still">${header}</span> `)}</p>`}</div>`;
}

/** @param {any} product @param {string} field @returns {string} what the first product has there */
function example(product, field) {
    const value = product ? product[field] : "";
    return Array.isArray(value) ? value.join(", ") : String(value || "").slice(0, 120);
}
