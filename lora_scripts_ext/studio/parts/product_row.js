// A product of a catalogue with its candidates side by side.

import {useState} from "preact/hooks";
import {address} from "../api.js";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {Shade} from "./crop.js";
import {LoraFields, loraNames} from "./lora_fields.js";
import {Opinions} from "./opinions.js";
import {ShopCopy} from "./shop_copy.js";

/** @type {Record<string, string>} */
const MOOD = {approved: "ok", failed: "bad", rejected: "grey", unmatched: "warn", waiting: "", drawn: "", ready: "grey", removed: "grey"};
const LARGER = 640;

/**
 * @param {{product: any, current: boolean, at: number, choosing: any, path: string, onEnter: (at: number) => void,
 *     onLarge: (at: number) => void, onCrop: (at: number) => void}} properties `at`: number of the candidate that keys are for, from 0
 */
export function ProductRow({product, current, at, choosing, path, onEnter, onLarge, onCrop}) {
    const [edited, setEdited] = useState(false);
    const name = product.title || product.sku;
    const errors = [...new Set(product.candidates.filter((one) => one.state === "failed").map((one) => one.error))];
    const drawn = product.candidates.filter((one) => one.state === "drawn");
    return html`<article class=${current ? "card product current" : "card product"} aria-label=${name} aria-current=${current ? "true" : undefined}
        tabindex="-1" data-product=${product.id} onFocusIn=${() => current || onEnter(0)} onPointerDown=${() => current || onEnter(0)}>
        <div class="row top"><div><b>${name}</b> <span class=${`pill ${MOOD[product.state]}`}>${t(`product.${product.state}`)}</span>
            <div class="small soft">${[product.sku, product.category, loraNames(product.loras)].filter(Boolean).join(" · ")}</div></div></div>
        ${product.candidates.length > 0 && html`<div class="candidates">${product.candidates.filter((one) => one.state !== "failed").map((one, index) => html`
            <${Candidate} key=${one.number} one=${one} name=${name} on=${current && at === index}
                onChoose=${() => {
                    onEnter(index);
                    choosing.choose(product, one);
                }} />`)}</div>`}
        ${errors.map((text) => html`<p class="error small" role="status">${text}</p>`)}
        ${errors.length > 0 && html`<div><button onClick=${() => choosing.retry(product)}>${t("retry")}</button></div>`}
        ${!product.matched && html`<${Ask} product=${product} choosing=${choosing} />`}
        ${edited ? html`<${Prompts} product=${product} choosing=${choosing} onClose=${() => setEdited(false)} />`
            : html`<p class="small soft prompt-line">${product.prompt} <button class="quiet small" aria-label=${`${t("choose.edit")}: ${name}`}
                onClick=${() => setEdited(true)}>${t("choose.edit")}</button></p>`}
        ${current || product.copy ? html`<${ShopCopy} product=${product} name=${name} choosing=${choosing} />` : null}
        ${product.warnings.map((text) => html`<p class="small warning">${text}</p>`)}
        ${current && drawn.length > 0 && html`<div class="row tight">
            <button onClick=${() => onLarge(at)}>${t("choose.large")} <kbd>Z</kbd></button>
            <button onClick=${() => onCrop(at)}>${t("choose.crop")} <kbd>C</kbd></button>
            <button onClick=${() => choosing.reject(product)}>${t("choose.rejectAll")} <kbd>0</kbd></button>
            <button onClick=${() => choosing.more(product)}>${t("choose.more")} <kbd>G</kbd></button></div>
            <${Opinions} product=${product} one=${shown(product)[at] || drawn[0]} choosing=${choosing} path=${path} />`}
    </article>`;
}

/** @param {any} product @returns {any[]} the candidates that there is something to see of */
export const shown = (product) => product.candidates.filter((one) => one.state !== "failed");

function Candidate({one, name, on, onChoose}) {
    const shape = {aspectRatio: one.facts.width ? `${one.facts.width} / ${one.facts.height}` : "1"};
    const label = `${name}, ${t("choose.image", {number: one.number})}`;
    if (one.state === "waiting") return html`<div class="missing" style=${shape} role="img" aria-label=${`${label}: ${t("product.waiting")}`}></div>`;
    const said = one.verdict && (one.place > 1 ? t("choose.further", {number: one.place}) : t(`product.${one.verdict}`));
    return html`<button class=${["candidate", one.verdict, on && "on"].filter(Boolean).join(" ")} aria-pressed=${one.verdict === "approved"} onClick=${onChoose}>
        <span class="hidden">${label}</span>
        <span class="frame"><img src=${address(one.thumbnail)} srcset=${`${address(one.thumbnail)} 320w, ${larger(one)} ${LARGER}w`} sizes="(max-width: 760px) 44vw, 300px"
            style=${shape} alt="" loading="lazy" decoding="async" /><${Shade} crop=${one.crop} /></span>
        <em aria-hidden="true"><kbd>${one.number}</kbd></em>
        ${said && html`<span class=${one.verdict === "approved" ? "pill ok" : "pill grey"}>${one.verdict === "approved" ? "✓ " : ""}${said}</span>`}
    </button>`;
}

/** @param {any} one a candidate @returns {string} the address of a larger preview of it */
export const larger = (one) => address(one.thumbnail.replace("size=320", `size=${LARGER}`));

// What no rule fits is not drawn until somebody has said with which look.
function Ask({product, choosing}) {
    const [lora, setLora] = useState({name: "", weight: 1});
    const draw = async () => {
        const loras = lora.name ? [{name: lora.name, weight: lora.weight}] : [];
        if (await choosing.edit(product, {loras}, t("choose.look"))) await choosing.retry(product);
    };
    return html`<div class="notice"><b>${t("choose.asks")}</b><div class="row tight">
        <${LoraFields} lora=${lora} id=${`lora-${product.id}`} onChange=${setLora} />
        <button onClick=${draw}>${t("choose.draw")}</button></div></div>`;
}

function Prompts({product, choosing, onClose}) {
    const [prompt, setPrompt] = useState(product.prompt);
    const [negative, setNegative] = useState(product.negative);
    const save = async (/** @type {Record<string, unknown>} */ values) => {
        if (Object.keys(values).length === 0 || await choosing.edit(product, values, t("choose.prompt"))) onClose();
    };
    const changed = {...(prompt !== product.prompt && {prompt}), ...(negative !== product.negative && {negative})};
    const own = ["prompt", "negative"].filter((name) => product.edited.includes(name));
    return html`<div class="stack editing">
        <label>${t("choose.prompt")}<textarea rows="3" maxlength="4000" value=${prompt} onInput=${typed(setPrompt)}></textarea></label>
        <label>${t("choose.negative")}<textarea rows="2" maxlength="4000" value=${negative} onInput=${typed(setNegative)}></textarea></label>
        <p class="small soft">${t("choose.promptHint")}</p>
        <div class="row tight"><button class="main" onClick=${() => save(changed)}>${t("choose.save")}</button>
            <button onClick=${onClose}>${t("cancel")}</button>
            ${own.length > 0 && html`<button class="quiet" onClick=${() => save(Object.fromEntries(own.map((name) => [name, null])))}>${t("choose.composed")}</button>`}</div>
    </div>`;
}
