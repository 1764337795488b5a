// Rows of a product list that cannot be used, each with the reason.

import {useState} from "preact/hooks";
import {html} from "../html.js";
import {t} from "../words.js";

const SHOWN = 8;

/** @param {{items: {row: number, sentence: string}[]}} properties */
export function RowProblems({items}) {
    const [all, setAll] = useState(false);
    if (!items.length) return null;
    return html`<section class="notice" aria-label=${t("products.problems")}><b>${t("products.wrong", {count: items.length})}</b>
        <ul class="plain small">${(all ? items : items.slice(0, SHOWN)).map((one) => html`<li>${one.row > 0 && `${t("products.row", {row: one.row})} `}${one.sentence}</li>`)}</ul>
        ${items.length > SHOWN && !all && html`<button onClick=${() => setAll(true)}>${t("products.all", {count: items.length})}</button>`}
        <p class="small">${t("products.others")}</p></section>`;
}
