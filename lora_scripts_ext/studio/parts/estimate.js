// What a training will take, beside what is there.

import {useEffect, useState} from "preact/hooks";
import {get} from "../api.js";
import {html} from "../html.js";
import {duration, t} from "../words.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

const GIGABYTE = 2 ** 30;
// So that typing does not ask at every letter.
const PAUSE = 400;

/** @param {{model: any}} properties */
export function Estimate({model}) {
    const [found, setFound] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const included = model.counts ? model.counts.included : 0;
    const key = JSON.stringify([model.config, model.kind, included]);
    useEffect(() => {
        let current = true;
        setFound(null);
        if (!included) return undefined;
        const timer = setTimeout(() => work(async () => {
            const answer = await get(`models/${model.id}/estimate`);
            if (current) setFound(answer);
        }), PAUSE);
        return () => {
            current = false;
            clearTimeout(timer);
        };
    }, [model.id, key]);
    if (!included) return null;
    return html`<div class="card stack" aria-live="polite"><h2>${t("train.estimate")}</h2>
        ${problem ? html`<${Wrong} problem=${problem} />` : found ? html`<${Facts} found=${found} />` : html`<p class="soft">${t("train.estimating")}</p>`}</div>`;
}

/** @param {{found: any}} properties */
function Facts({found}) {
    const size = (/** @type {number | null} */ bytes) => (bytes === null ? "?" : t("train.memory", {size: (bytes / GIGABYTE).toFixed(1)}));
    const rows = [
        ["train.images", found.pictures], ["train.steps", found.steps], ["train.time", t("train.about", {time: duration(found.seconds)})],
        ["train.needed", size(found.memory_bytes)], ["train.free", size(found.free_bytes)],
        ["train.file", `${(found.file_bytes / 2 ** 20).toFixed(1)} MB`],
    ];
    return html`
        <dl class="fact">${rows.map(([word, value]) => html`<dt>${t(word)}</dt><dd>${value}</dd>`)}</dl>
        ${!found.fits && html`<p class="error">${t("train.tooLarge")}</p>`}
        ${[...found.notes, ...found.warnings].map((text) => html`<p class="small warning">${text}</p>`)}`;
}
