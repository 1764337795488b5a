// What the shop says of a product: its title and selling points, by a person or a service, and changed by hand.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {t} from "../words.js";

/** @param {{product: any, name: string, choosing: any}} properties */
export function ShopCopy({product, name, choosing}) {
    const [edited, setEdited] = useState(false);
    const {copy} = product;
    const label = t(copy ? "copy.edit" : "copy.add");
    if (edited) return html`<${Editor} product=${product} choosing=${choosing} onClose=${() => setEdited(false)} />`;
    return html`<div class="small soft prompt-line">${copy && html`<b>${copy.title}</b>${copy.points.length > 0 && ` · ${copy.points.join(" · ")}`} `}
        <button class="quiet small" aria-label=${`${label}: ${name}`} onClick=${() => setEdited(true)}>${label}</button></div>`;
}

function Editor({product, choosing, onClose}) {
    const [title, setTitle] = useState(product.copy ? product.copy.title : product.title);
    const [points, setPoints] = useState((product.copy ? product.copy.points : []).join("\n"));
    const [language, setLanguage] = useState(product.copy ? product.copy.language : /[\u4e00-\u9fff]/.test(product.title) ? "zh" : "en");
    const keep = async (/** @type {any} */ copy) => {
        if (await choosing.write(product, copy)) onClose();
    };
    const lines = points.split("\n").map((line) => line.trim()).filter(Boolean);
    return html`<div class="stack editing">
        <label>${t("copy.name")}<input value=${title} maxlength="300" onInput=${typed(setTitle)} /></label>
        <label>${t("copy.points")}<textarea rows="4" value=${points} onInput=${typed(setPoints)}></textarea></label>
        <label>${t("copy.language")}<select value=${language} onChange=${typed(setLanguage)}>${["zh", "en"].map((one) => html`<option value=${one}>${t(`copy.language.${one}`)}</option>`)}</select></label>
        <div class="row tight"><button class="main" disabled=${!title.trim()} onClick=${() => keep({title: title.trim(), points: lines, language})}>${t("choose.save")}</button>
            <button onClick=${onClose}>${t("cancel")}</button>
            ${product.copy && html`<button class="quiet" onClick=${() => keep(null)}>${t("copy.without")}</button>`}</div></div>`;
}
