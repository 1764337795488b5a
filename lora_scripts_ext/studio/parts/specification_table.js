// The rows that are compared: what, the left product's value, the right one's.

import {html, typed} from "../html.js";
import {t} from "../words.js";

const COLUMNS = ["comparison.label", "comparison.left", "comparison.right"];

/** @param {{rows: string[][], onSet: (rows: string[][]) => void}} properties */
export function SpecificationTable({rows, onSet}) {
    const write = (/** @type {number} */ row, /** @type {number} */ column, /** @type {string} */ text) => (
        onSet(rows.map((one, index) => (index === row ? one.map((before, place) => (place === column ? text : before)) : one))));
    // Cells of a spreadsheet fill the rows from the one that they are pasted into.
    const paste = (/** @type {ClipboardEvent} */ event, /** @type {number} */ row) => {
        const cells = (event.clipboardData?.getData("text") || "").trimEnd().split(/\r?\n/).map((line) => line.split("\t"));
        if (!cells.some((line) => line.length > 1)) return;
        event.preventDefault();
        onSet([...rows.slice(0, row), ...cells.map((line) => COLUMNS.map((_, place) => (line[place] || "").trim())), ...rows.slice(row + 1)]);
    };
    return html`<section class="card stack" aria-label=${t("comparison.specs")}><h2>${t("comparison.specs")}</h2>
        <p class="small soft">${t("comparison.specsHint")}</p>
        <table class="specs"><thead><tr>${COLUMNS.map((key) => html`<th scope="col">${t(key)}</th>`)}<td></td></tr></thead>
            <tbody>${rows.map((row, index) => html`<tr key=${index}>
                ${row.map((text, column) => html`<td><input aria-label=${`${t(COLUMNS[column])} ${index + 1}`} value=${text} maxlength="500" onInput=${typed((value) => write(index, column, value))}
                    onPaste=${(/** @type {ClipboardEvent} */ event) => paste(event, index)} /></td>`)}
                <td><button class="quiet" aria-label=${t("comparison.removeRow", {number: index + 1})} onClick=${() => onSet(rows.filter((_, other) => other !== index))}>×</button></td></tr>`)}</tbody></table>
        <div><button onClick=${() => onSet([...rows, ["", "", ""]])}>${t("comparison.add")}</button></div>
    </section>`;
}
