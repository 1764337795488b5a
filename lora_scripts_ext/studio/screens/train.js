// Training: what it will take, every setting, and how it is going.

import {useEffect, useMemo, useState} from "preact/hooks";
import {address, get, post} from "../api.js";
import {html} from "../html.js";
import {Curve} from "../parts/curve.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {Settings} from "../parts/settings.js";
import {attempt, refreshJobs} from "../state.js";
import {duration, t} from "../words.js";
import {useWork} from "./model.js";

const ENDED = ["done", "failed", "stopped", "cancelled"];
const GIGABYTE = 2 ** 30;

/** @param {{model: any, jobs: any[], change: (values: Record<string, unknown>) => Promise<void>}} properties */
export function Train({model, jobs, change}) {
    const trainings = jobs.filter((job) => job.kind === "train");
    const current = trainings.find((job) => !ENDED.includes(job.state)) || trainings[0];
    const [problem, work] = useWork();
    const begin = () => work(async () => {
        await post(`models/${model.id}/train`);
        await refreshJobs();
    });
    return html`
        <div class="cols">
            <div class="stack">
                ${current && html`<${Training} job=${current} work=${work} />`}
                <${Settings} config=${model.config} kind=${model.kind} onChange=${(/** @type {any} */ config) => work(() => change({config}))} />
            </div>
            <aside class="stack">
                <${Estimate} model=${model} />
                ${model.problem && html`<p class="error" role="status">${model.problem}</p>`}
                <${Wrong} problem=${problem} />
                <button class="main" disabled=${Boolean(model.problem)} onClick=${begin}>
                    ${t(current && !ENDED.includes(current.state) ? "train.queue" : "train.start")}</button>
                <${Versions} model=${model} stand=${trainings.map((job) => job.state).join()} />
            </aside>
        </div>`;
}

/** @param {any} properties */
function Training({job, work}) {
    const [report, setReport] = useState(/** @type {any} */ (null));
    const active = !ENDED.includes(job.state);
    useEffect(() => {
        attempt(() => get(`jobs/${job.id}/report`)).then((found) => found && setReport(found));
    }, [job.id, job.state, job.progress.step, job.progress.phase]);
    const {step = 0, steps, eta, epoch, epochs, rate, memory_mb: memory} = job.progress;
    const act = (/** @type {string} */ what) => work(async () => {
        await post(`jobs/${job.id}/${what}`);
        await refreshJobs();
    });
    const facts = active ? [
        epoch && t("train.epoch", {epoch, epochs}), steps && t("job.steps", {step, steps}), eta && t("job.left", {time: duration(eta)}),
        rate && t("train.rate", {rate: rate.toFixed(2)}), memory && t("train.memory", {size: (memory / 1024).toFixed(1)}),
    ] : [];
    return html`
        <section class="card stack" aria-live="polite">
            <div class="row"><h2>${t("train.training")}</h2><${Pill} state=${job.state} />
                <span class="soft small">${facts.filter(Boolean).join(" · ")}</span><span class="space"></span>
                ${["starting", "running"].includes(job.state) && html`<button onClick=${() => act("stop")}>${t("queue.stop")}</button>`}
                ${job.state === "queued" && html`<button onClick=${() => act("cancel")}>${t("queue.cancel")}</button>`}
                ${["failed", "stopped"].includes(job.state) && html`<button class="main" onClick=${() => act("retry")}>${t("queue.resume")}</button>`}
            </div>
            ${active && html`<${Bar} share=${steps ? step / steps : 0} label=${job.name} />`}
            <p class=${job.state === "failed" ? "error" : "soft"}>${job.waits_for || job.status || job.reason}</p>
            ${job.state === "done" && html`<p>${t("train.done")} <code>${job.result.lora}</code></p>`}
            ${report && report.curve.length > 1 && html`<${Curve} points=${report.curve} label=${t("train.loss")} />`}
            ${report && html`<${Previews} job=${job} previews=${report.previews} />`}
            ${report && report.warnings.map((/** @type {string} */ text) => html`<p class="small">${text}</p>`)}
        </section>`;
}

/** @param {any} properties the images drawn after each epoch, with a slider */
function Previews({job, previews}) {
    const epochs = useMemo(() => [...new Set(previews.map((/** @type {any} */ one) => one.epoch))], [previews.length]);
    const [chosen, setChosen] = useState(-1);
    if (!epochs.length) return null;
    const index = chosen < 0 ? epochs.length - 1 : Math.min(chosen, epochs.length - 1);
    const label = epochs[index] ? t("train.after", {epoch: /** @type {number} */ (epochs[index])}) : t("train.before");
    return html`
        <div class="row"><label>${label} <input type="range" min="0" max=${epochs.length - 1} value=${index}
            aria-valuetext=${label} onInput=${(/** @type {any} */ event) => setChosen(Number(event.target.value))} /></label></div>
        <div class="previews">${previews.filter((/** @type {any} */ one) => one.epoch === epochs[index]).map((/** @type {any} */ one) => html`
            <img src=${address(`jobs/${job.id}/files/previews/${encodeURIComponent(one.path.split(/[\\/]/).pop())}`)} alt=${label} />`)}</div>`;
}

/** @param {any} properties */
function Estimate({model}) {
    const [found, setFound] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const key = JSON.stringify([model.config, model.counts]);
    useEffect(() => {
        let current = true;
        setFound(null);
        // A pause, so that typing does not ask at every letter.
        const timer = setTimeout(async () => {
            await work(async () => {
                const answer = await get(`models/${model.id}/estimate`);
                if (current) setFound(answer);
            });
        }, 400);
        return () => {
            current = false;
            clearTimeout(timer);
        };
    }, [model.id, key]);
    if (!found) {
        return html`<div class="card"><h2>${t("train.estimate")}</h2>
            ${problem ? html`<${Wrong} problem=${problem} />` : html`<p class="soft">${t("loading")}</p>`}</div>`;
    }
    const rows = [
        ["train.steps", found.steps], ["train.time", duration(found.seconds)],
        ["train.needed", t("train.memory", {size: (found.memory_bytes / GIGABYTE).toFixed(1)})],
        ["train.free", found.free_bytes === null ? "?" : t("train.memory", {size: (found.free_bytes / GIGABYTE).toFixed(1)})],
        ["train.file", `${(found.file_bytes / 2 ** 20).toFixed(1)} MB`],
    ];
    return html`<div class="card"><h2>${t("train.estimate")}</h2><dl class="fact">
        ${rows.map(([word, value]) => html`<dt>${t(word)}</dt><dd>${value}</dd>`)}</dl></div>`;
}

/** @param {any} properties */
function Versions({model, stand}) {
    const [versions, setVersions] = useState(/** @type {any[]} */ ([]));
    useEffect(() => {
        attempt(() => get(`models/${model.id}/versions`)).then((found) => found && setVersions(found.items));
    }, [model.id, stand]);
    if (!versions.length) return null;
    return html`<div class="card"><h2>${t("train.versions")}</h2><ul class="plain">
        ${versions.map((one) => html`<li><a href=${address(one.address)} download>${t("models.versions", {count: one.number})}</a>
            <span class="small soft"> ${one.facts.steps ? t("train.ofSteps", {steps: one.facts.steps}) : ""}</span></li>`)}</ul></div>`;
}
