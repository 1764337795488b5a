// Who writes the captions, and what it needs for that.

import {useState} from "preact/hooks";
import {post} from "../api.js";
import {html, typed} from "../html.js";
import {isOpen, refreshJobs, system} from "../state.js";
import {t} from "../words.js";
import {Field, tied} from "./field.js";
import {Wrong} from "./message.js";
import {Bar} from "./pill.js";
import {useWork} from "./work.js";

const OVERWRITE = ["none", "ours", "all"];

/** @param {{model: any, running: any, last: any}} properties */
export function Captioner({model, running, last}) {
    const [captioner, setCaptioner] = useState("auto");
    const [overwrite, setOverwrite] = useState("none");
    const [options, setOptions] = useState(/** @type {Record<string, string>} */ ({}));
    const [problem, work] = useWork();
    const known = system.value ? system.value.captioners : [];
    const chosen = known.find((one) => one.name === captioner);
    /** @type {string[]} */
    const wanted = chosen ? chosen.options : [];
    const begin = () => work(async () => {
        const given = Object.fromEntries(wanted.filter((name) => options[name]?.trim()).map((name) => [name, options[name].trim()]));
        await post(`models/${model.id}/caption`, {config: {captioner, overwrite, ...given}});
        await refreshJobs();
    });
    const wrong = (/** @type {string} */ name) => (problem && problem.field && problem.field.endsWith(name) ? problem.message : undefined);
    const loose = problem && !wanted.some((name) => wrong(name)) ? problem : null;
    return html`
        <div class="card stack">
            <h2>${t("captions.captioner")}</h2>
            <select aria-label=${t("captions.captioner")} value=${captioner} onChange=${typed(setCaptioner)}>
                <option value="auto">${t("captioner.auto")}</option>
                ${known.map((one) => html`<option value=${one.name}>${t(`captioner.${one.name}`)}</option>`)}
            </select>
            <span class="small soft">${chosen ? t("captions.needs", {what: chosen.needs}) : t("captions.auto")}</span>
            ${wanted.map((name) => html`<${Field} id=${`captioner-${name}`} label=${t(`captioner.${name}.label`)} error=${wrong(name)}>
                <input ...${tied(`captioner-${name}`, wrong(name))} value=${options[name] || ""}
                    onInput=${typed((text) => setOptions({...options, [name]: text}))} /><//>`)}
            <label class="small">${t("captions.overwrite")}
                <select value=${overwrite} onChange=${typed(setOverwrite)}>
                    ${OVERWRITE.map((name) => html`<option value=${name}>${t(`captions.overwrite.${name}`)}</option>`)}</select></label>
            ${running && html`<${Progress} job=${running} />`}
            <button disabled=${Boolean(running) || !model.counts || !model.counts.included} onClick=${begin}>
                ${t(running ? "captions.captioning" : "captions.begin")}</button>
            <${Wrong} problem=${loose} />
            ${last && last.state === "failed" && html`<p class="small error" role="alert">${last.reason}</p>`}
            ${last && !isOpen(last) && last.state === "done" && last.reason && html`<p class="small soft" role="status">${last.reason}</p>`}
        </div>`;
}

/** @param {{job: any}} properties */
function Progress({job}) {
    const done = job.progress.prepare;
    return html`<${Bar} share=${done && done.total ? done.done / done.total : 0} label=${t("captions.captioning")} />
        <p class="small soft" role="status">${job.waits_for || job.status}</p>`;
}
