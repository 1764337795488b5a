// What is in use of a model, what was before it, and the way back.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html} from "../html.js";
import {attempt} from "../state.js";
import {moment, t} from "../words.js";
import {baseName, strengthText} from "./checkpoint.js";
import {signature} from "./signature.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

export function Publications({model, stamp, onChange}) {
    const [items, setItems] = useState(/** @type {any[]} */ ([]));
    const [sure, setSure] = useState(false);
    const [problem, work] = useWork();
    const load = async () => {
        const found = await attempt(() => get(`models/${model.id}/publications`));
        if (found) setItems(found.items);
    };
    useEffect(() => {
        load();
    }, [model.id, stamp]);
    const used = items.filter((one) => !one.withdrawn);
    const [current, before] = used;
    if (!current) return null;
    const back = () => work(async () => {
        await post(`models/${model.id}/rollback`, {who: signature()});
        setSure(false);
        await Promise.all([load(), onChange()]);
    });
    const words = (/** @type {any} */ one) => [t("models.versions", {count: one.number}), baseName(one.checkpoint),
        t("publish.strength", {strength: strengthText(one.strength)}), moment(one.at), one.who].filter(Boolean).join(" · ");
    return html`<section class="card stack" aria-label=${t("publish.title")}><h2>${t("publish.title")}</h2>
        <p><code>${current.path}</code></p><p class="small soft">${words(current)}</p>
        ${before && (sure ? html`<p>${t("publish.sure")} ${words(before)}</p>
            <div class="row tight"><button class="main" onClick=${back}>${t("publish.back")}</button>
                <button onClick=${() => setSure(false)}>${t("cancel")}</button></div>`
            : html`<button onClick=${() => setSure(true)}>${t("publish.back")}…</button>`)}
        <${Wrong} problem=${problem} /></section>`;
}
