// Several LoRAs added up to a new one, each with a weight.

import {useEffect, useState} from "preact/hooks";
import {getAll, post} from "../api.js";
import {html, typed} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {Wrong} from "../parts/message.js";
import {useWork} from "../parts/work.js";
import {attempt, go, refreshJobs} from "../state.js";
import {t} from "../words.js";

export function Merge({onClose}) {
    const [models, setModels] = useState(/** @type {any[]} */ ([]));
    const [name, setName] = useState("");
    const [rank, setRank] = useState("0");
    const [parts, setParts] = useState([{model: "", weight: "1"}, {model: "", weight: "1"}]);
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(() => getAll("models?retired=false")).then((found) => found && setModels(found.filter((one) => one.state.versions > 0)));
    }, []);
    const change = (/** @type {number} */ index, /** @type {Record<string, string>} */ values) => setParts(
        parts.map((one, position) => (position === index ? {...one, ...values} : one)));
    const merge = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            const chosen = parts.filter((one) => one.model).map((one) => ({model: one.model, weight: Number(one.weight)}));
            const job = await post("models/merge", {name, rank: Number(rank), parts: chosen});
            await refreshJobs();
            onClose();
            if (job.model) go("model", job.model, "train");
        });
    };
    const wrong = (/** @type {string} */ field) => (problem && problem.field === field ? problem.message : undefined);
    const chosen = parts.filter((one) => one.model);
    return html`<${Dialog} title=${t("merge.title")} onClose=${onClose}><form onSubmit=${merge}>
        <p>${t("merge.what")}</p>
        <fieldset class="stack"><legend>${t("merge.parts")}</legend>${parts.map((one, index) => html`<div class="together">
            <select aria-label=${t("merge.part", {number: index + 1})} value=${one.model} onChange=${typed((model) => change(index, {model}))}>
                <option value="">${t("merge.choose")}</option>
                ${models.map((model) => html`<option value=${model.id}>${model.name}</option>`)}</select>
            <input class="short" inputmode="decimal" aria-label=${t("merge.weight", {number: index + 1})} value=${one.weight}
                onInput=${typed((weight) => change(index, {weight}))} />
            ${parts.length > 2 && html`<button type="button" class="quiet" aria-label=${t("merge.less", {number: index + 1})}
                onClick=${() => setParts(parts.filter((_, position) => position !== index))}>✕</button>`}</div>`)}
            <button type="button" onClick=${() => setParts([...parts, {model: "", weight: "1"}])}>${t("merge.more")}</button></fieldset>
        <${Field} id="merge-name" label=${t("new.name")} hint=${t("new.nameHint")} error=${wrong("name")}>
            <input ...${tied("merge-name", wrong("name"))} value=${name} onInput=${typed(setName)} /><//>
        <${Field} id="merge-rank" label=${t("merge.rank")} hint=${t("merge.rankHint")} error=${wrong("rank")}>
            <input inputmode="numeric" ...${tied("merge-rank", wrong("rank"))} value=${rank} onInput=${typed(setRank)} /><//>
        <${Wrong} problem=${problem && !["name", "rank"].includes(problem.field || "") ? problem : null} />
        <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
            <button class="main" disabled=${!name.trim() || chosen.length < 2}>${t("merge.begin")}</button></div>
    </form><//>`;
}
