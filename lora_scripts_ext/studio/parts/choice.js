// What was clicked on the sheet: one image with what can be done with it, or two to slide between.

import {useEffect, useRef, useState} from "preact/hooks";
import {address, post} from "../api.js";
import {html} from "../html.js";
import {framed, tryPrompt} from "../state.js";
import {t} from "../words.js";
import {baseName} from "./checkpoint.js";
import {signature} from "./signature.js";
import {Dialog} from "./dialog.js";
import {Wrong} from "./message.js";
import {Slide, width, Zoom} from "./slide.js";
import {useWork} from "./work.js";

const PHONE = "(max-width: 900px)";

/** Two images; `onDecide` gets the better one. */
export function Pair({sheet, chosen, name, blind, onDecide}) {
    const [large, setLarge] = useState(false);
    const [zoom, setZoom] = useState(1);
    const element = useRef(/** @type {HTMLElement | null} */ (null));
    useEffect(() => {
        // On a phone it lies below what was touched.
        if (matchMedia(PHONE).matches) element.current?.scrollIntoView({block: "center"});
    }, []);
    const [left, right] = chosen.map(sheet.cell);
    if (!left?.image || !right?.image) return html`<p class="card soft">${t("compare.missing")}</p>`;
    const names = blind ? ["A", "B"] : chosen.map((place, index) => `${"AB"[index]}: ${name(place)}`);
    const better = html`<div class="row tight">${chosen.map((place, index) => html`
        <button class="grow" onClick=${() => onDecide(place)}>${t("compare.better", {name: "AB"[index]})}</button>`)}</div>`;
    return html`<section class="card stack" ref=${element} aria-label=${t("compare.pair")}>
        <${Slide} left=${left} right=${right} names=${names} />
        ${better}<button onClick=${() => setLarge(true)}>${t("compare.enlarge")}</button>
        ${large && html`<${Dialog} title=${sheet.text} wide onClose=${() => setLarge(false)}>
            <${Zoom} zoom=${zoom} onZoom=${setZoom} /><${Slide} left=${left} right=${right} names=${names} zoom=${zoom} />${better}<//>`}
    </section>`;
}

/** One image. */
export function Choice({sheet, chosen: [place], name, blind, path, trigger, review, version, onReveal, onChange}) {
    const [large, setLarge] = useState(false);
    const [zoom, setZoom] = useState(1);
    const [problem, work] = useWork();
    const cell = sheet.cell(place);
    const title = blind ? "A" : name(place);
    const publish = (replace = false) => work(async () => {
        await post(`${path}/publish`, {...place, who: signature(), replace});
        await onChange();
    });
    const used = version.published_as;
    const inUse = used && used.strength === place.strength && baseName(used.checkpoint) === baseName(place.checkpoint);
    const inTheWay = problem?.code === "conflict";
    const tryIt = () => tryPrompt([trigger, `<lora:${baseName(used.path).replace(/\.safetensors$/, "")}:${used.strength}>`].filter(Boolean).join(" "),
        version.facts.config?.base_model);
    const {suggested, checkpoints} = review;
    const best = suggested && suggested.strength === place.strength && baseName(suggested.checkpoint) === baseName(place.checkpoint);
    const {step = -1} = checkpoints.find((one) => baseName(one.file) === baseName(place.checkpoint)) || {};
    const measured = (version.facts.held_out || []).find((one) => one.step === step);
    return html`<section class="card stack" aria-label=${t("compare.choice")}>
        <h2>${title} ${!blind && best && html`<span class="pill ok">${t("compare.suggested")}</span>`}</h2>
        ${cell?.image ? html`<button class="shot" aria-label=${t("compare.enlarge")} onClick=${() => setLarge(true)}>
            <img class="whole" src=${address(cell.image)} alt=${blind ? "A" : `${sheet.text}, ${title}`} /></button>` : html`<p class="soft">${t("compare.missing")}</p>`}
        ${blind ? html`<button class="main" onClick=${() => onReveal(place)}>${t("compare.reveal")}</button>` : html`
            ${best && html`<p class="small soft">${suggested.reason}</p>`}
            ${measured && html`<dl class="fact small"><dt>${t("compare.heldOut")}</dt><dd>${measured.loss.toFixed(4)}</dd>
                <dt>${t("compare.base")}</dt><dd>${measured.base.toFixed(4)}</dd></dl>`}
            ${inUse ? html`<p role="status" class="result">${t("compare.done")} <code>${used.path}</code></p>
                ${framed && html`<button onClick=${tryIt}>${t("compare.try")}</button>`}`
                : place.checkpoint && html`<button class="main" onClick=${() => publish()}>${t("compare.publish")}</button>`}
            <${Wrong} problem=${problem} />
            ${inTheWay && html`<button onClick=${() => publish(true)}>${t("compare.replace")}</button>`}
            ${cell?.parameters && html`<details class="small"><summary>${t("compare.parameters")}</summary><p class="wrap">${cell.parameters}</p></details>`}`}
        <p class="small soft">${t("compare.second")}</p>
        ${large && html`<${Dialog} title=${blind ? sheet.text : `${sheet.text}, ${title}`} wide onClose=${() => setLarge(false)}><${Zoom} zoom=${zoom} onZoom=${setZoom} />
            <div class="window" tabindex="0" role="group" aria-label=${t("compare.window")}><img style=${{width: width(zoom)}} src=${address(cell.image)} alt=${title} /></div><//>`}
    </section>`;
}
