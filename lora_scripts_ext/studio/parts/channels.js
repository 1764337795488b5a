// Which sales channels images are made for, in words, and what counts where a channel and the law contradict each other.

import {useEffect, useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";

const ANSWERS = ["without", "with", "leave out"];

/** @param {{settings: any, onChange: (values: Record<string, unknown>) => unknown}} properties */
export function Channels({settings, onChange}) {
    const [items, setItems] = useState(/** @type {any[]} */ ([]));
    useEffect(() => {
        attempt(async () => setItems((await get(`channels?market=${encodeURIComponent(settings.market)}`)).items));
    }, [settings.market]);
    const chosen = settings.channels;
    const toggle = (/** @type {string} */ name) => onChange({channels: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]});
    const own = chosen.filter((name) => items.length && !items.some((one) => one.name === name));
    const asking = items.filter((one) => one.question && chosen.includes(one.name));
    return html`<section class="card stack" aria-label=${t("channels.title")}>
        <div class="row top"><h2>${t("channels.title")}</h2><span class="space"></span>
            <label class="check small">${t("channels.market")} <select value=${settings.market} onChange=${typed((market) => onChange({market}))}>
                <option value="">${t("channels.anywhere")}</option><option value="CN">${t("channels.china")}</option>
                ${!["", "CN"].includes(settings.market) && html`<option value=${settings.market}>${settings.market}</option>`}</select></label></div>
        <div class="channels">${items.map((one) => html`<label key=${one.name} class=${chosen.includes(one.name) ? "goal on" : "goal"} title=${one.note}>
            <input type="checkbox" checked=${chosen.includes(one.name)} onChange=${() => toggle(one.name)} /><b>${title(one)}</b>
            <span class="small soft">${inWords(one)}</span></label>`)}
            ${own.map((name) => html`<label class="goal on"><input type="checkbox" checked onChange=${() => toggle(name)} /><b>${name.split(/[\\/]/).pop()}</b>
                <span class="small soft">${t("channels.own")}</span></label>`)}</div>
        ${asking.length > 0 && html`<fieldset class="notice"><legend class="hidden">${t("channels.asks")}</legend><b>${asking[0].question}</b>
            ${asking.length > 1 && html`<p class="small">${t("channels.also")} ${asking.slice(1).map(title).join(", ")}</p>`}
            ${ANSWERS.map((answer) => html`<label class="check"><input type="radio" name="visible_mark" checked=${settings.visible_mark === answer}
                onChange=${() => onChange({visible_mark: answer})} /> <span><b class="plain-b">${t(`channels.answer.${answer.replace(" ", "")}`)}</b> ${t(`channels.effect.${answer.replace(" ", "")}`)}</span></label>`)}
        </fieldset>`}
    </section>`;
}

/** @param {any} channel @returns {string} */
export const title = (channel) => channel.title;

/** @param {any} channel @returns {string} what its images are like */
export function inWords({size, background, format, visible_mark: mark}) {
    const {low, high, width} = size;
    const pixels = width ? t("channels.wide", {width})
        : high && high[0] === low[0] && high[1] === low[1] ? `${low[0]} × ${low[1]}` : t("channels.least", {width: low[0], height: low[1]});
    return [pixels, t(`channels.background.${background}`), format, t(`channels.mark.${mark}`)].join(" · ");
}
