// The images drawn while training, by epoch, with a slider.

import {useMemo, useState} from "preact/hooks";
import {address} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";

/** @param {{previews: {epoch: number, step: number, address: string}[]}} properties */
export function Previews({previews}) {
    const epochs = useMemo(() => [...new Set(previews.map((one) => one.epoch))].sort((a, b) => a - b), [previews.length]);
    // Negative: the newest, also of those that are still to come.
    const [chosen, setChosen] = useState(-1);
    if (!epochs.length) return null;
    const index = chosen < 0 ? epochs.length - 1 : Math.min(chosen, epochs.length - 1);
    const label = epochs[index] ? t("train.after", {epoch: epochs[index]}) : t("train.before");
    const choose = (event) => setChosen(Number(event.target.value));
    return html`
        <div class="stack">
            <h3>${t("train.previews")}</h3>
            ${epochs.length > 1 && html`<label class="slider"><span>${label}</span>
                <input type="range" min="0" max=${epochs.length - 1} value=${index} aria-valuetext=${label} onInput=${choose} /></label>`}
            ${epochs.length === 1 && html`<span>${label}</span>`}
            <div class="previews">${previews.filter((one) => one.epoch === epochs[index]).map((one) => html`
                <a href=${address(one.address)} target="_blank" rel="noopener"><img src=${address(one.address)} alt=${label} loading="lazy" /></a>`)}</div>
        </div>`;
}
