// Training: what it will take, every setting, and how it is going.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {checkpointName, strengthText, suggestion} from "../parts/checkpoint.js";
import {Losses} from "../parts/curve.js";
import {Estimate} from "../parts/estimate.js";
import {Later} from "../parts/later.js";
import {Log} from "../parts/log.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {Previews} from "../parts/previews.js";
import {Result} from "../parts/result.js";
import {Settings} from "../parts/settings.js";
import {Versions} from "../parts/versions.js";
import {useWork} from "../parts/work.js";
import {attempt, isOpen, jobs as allJobs, link, queue, refreshJobs} from "../state.js";
import {duration, t} from "../words.js";

/** @param {{model: any, jobs: any[], set: (values: Record<string, unknown>) => Promise<unknown>}} properties */
export function Train({model, jobs, set}) {
    const trainings = jobs.filter((job) => job.kind === "train");
    const current = trainings.find((job) => job.state !== "queued" && isOpen(job)) || trainings.find(isOpen) || trainings[0];
    return html`
        <div class="cols">
            <div class="stack">
                ${current && html`<${Training} key=${current.id} job=${current} trigger=${model.trigger_word} />`}
                <${Settings} model=${model} onChange=${set} />
            </div>
            <aside class="stack">
                <${Estimate} model=${model} />
                <${Begin} model=${model} current=${current} />
                <${Versions} model=${model} stamp=${trainings.map((job) => job.state).join()} />
            </aside>
        </div>`;
}

function Begin({model, current}) {
    const [problem, work] = useWork();
    const [later, setLater] = useState(false);
    const [asked, setAsked] = useState(/** @type {Record<string, unknown> | null} */ (null));
    const runs = Boolean(current) && isOpen(current);
    const waiting = (allJobs.value || []).filter((job) => job.state === "queued");
    // When it is to begin; empty: now, before everything that waits.
    const enqueue = (/** @type {Record<string, unknown>} */ when) => work(async () => {
        const job = await post(`models/${model.id}/train`, when);
        const now = !Object.keys(when).length;
        if (now && waiting.length) await post(`jobs/${job.id}/move`, {before: waiting[0].id});
        if (now && queue.value?.paused) await post("queue/continue");
        setLater(false);
        setAsked(null);
        await refreshJobs();
    });
    const begin = (/** @type {Record<string, unknown>} */ when) => (model.in_the_way ? setAsked(when) : enqueue(when));
    const none = !model.counts || !model.counts.included;
    const blocked = none ? t("train.noImages") : model.problem;
    return html`
        ${blocked && html`<p class="error" role="status">${blocked}</p>`}
        ${!blocked && model.counts.without_caption > 0 && html`<p class="warning small">${t("train.uncaptioned", {count: model.counts.without_caption})}</p>`}
        <${Wrong} problem=${problem} />
        ${!runs && html`<button class="main" disabled=${Boolean(blocked)} onClick=${() => begin({})}>${t("train.start")}</button>`}
        <button disabled=${Boolean(blocked)} onClick=${() => setLater(true)}>${t(runs ? "train.another" : "train.queue")}</button>
        ${later && html`<${Later} problem=${problem} onChoose=${begin} onClose=${() => setLater(false)} />`}
        ${asked && html`<${Dialog} title=${t("train.inTheWay")} onClose=${() => setAsked(null)}>
            <p>${t("train.inTheWayWhat")} <code>${model.in_the_way}</code></p><${Wrong} problem=${problem} />
            <div class="row end"><button onClick=${() => setAsked(null)}>${t("cancel")}</button>
                <button class="main" onClick=${() => enqueue(asked)}>${t("train.inTheWayGo")}</button></div><//>`}`;
}

function Training({job, trigger}) {
    const [report, setReport] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const active = isOpen(job);
    useEffect(() => {
        let current = true;
        attempt(() => get(`jobs/${job.id}/report`)).then((found) => current && found && setReport(found));
        return () => {
            current = false;
        };
    }, [job.id, job.state, job.progress.step, job.progress.phase]);
    const act = (/** @type {string} */ what, body = {}) => work(async () => {
        await post(`jobs/${job.id}/${what}`, body);
        if (what === "retry" && queue.value?.paused) await post("queue/continue");
        await refreshJobs();
    });
    const {step = 0, steps} = job.progress;
    const words = job.waits_for || job.status || job.reason;
    const found = report && suggestion(report);
    return html`
        <section class="card stack" aria-label=${t("train.training")}>
            <div class="row top"><h2>${t("train.training")}</h2><${Pill} state=${job.state} /><span class="space"></span>
                ${["starting", "running"].includes(job.state) && html`<button onClick=${() => act("stop")}>${t("queue.stop")}</button>`}
                ${job.state === "queued" && html`<button onClick=${() => act("cancel")}>${t("queue.cancel")}</button>`}
                ${["failed", "stopped"].includes(job.state) && html`<button class="main" onClick=${() => act("retry")}>
                    ${t(job.resumes ? "queue.resume" : "queue.retry")}</button>`}
                ${job.state === "failed" && html`<button onClick=${() => act("retry", {draft: true})}>${t("train.corrected")}</button>`}
            </div>
            ${report && report.warnings.length > 0 && html`<div class="notice" role="status"><b>${t("train.warned")}</b>
                ${report.warnings.map((text) => html`<p>${text}</p>`)}</div>`}
            ${active && html`<${Bar} share=${share(job)} label=${t("train.progress")} /><${Facts} job=${job} />`}
            ${words && html`<p class=${job.state === "failed" ? "error" : "soft"} role="status">${words}</p>`}
            ${["failed", "stopped"].includes(job.state) && job.resumes && steps && html`<p class="soft small">${t("train.resumes", {step, steps})}</p>`}
            <${Wrong} problem=${problem} />
            ${["done", "stopped"].includes(job.state) && html`<${Result} job=${job} trigger=${trigger} />`}
            ${report && report.ended_early && html`<p role="status">${t("train.ended", report.ended_early)}</p>`}
            ${found && html`<${Suggestion} model=${job.model} found=${found} />`}
            ${report && html`<${Losses} curve=${report.curve} heldOut=${report.held_out || []} mark=${found ? found.step : null} />`}
            ${report && html`<${Previews} previews=${report.previews} />`}
            ${report && report.skipped.length > 0 && html`<details class="small"><summary>${t("train.skipped", {count: report.skipped.length})}</summary>
                <ul class="plain">${report.skipped.map((one) => html`<li>${one.picture || one.name}: ${one.reason}</li>`)}</ul></details>`}
            <${Log} job=${job.id} active=${active} />
        </section>`;
}

/** @param {{model: string, found: NonNullable<ReturnType<typeof suggestion>>}} properties */
function Suggestion({model, found}) {
    return html`<div class=${found.warns ? "suggestion doubtful" : "suggestion"}><span class=${found.warns ? "pill warn" : "pill ok"}>${t("train.suggested")}</span>${" "}
        <b>${t("train.suggestedAt", {checkpoint: checkpointName(found), strength: strengthText(found.strength)})}</b>
        <p>${found.reason}</p>
        ${model && html`<a href=${link("model", model, "compare")}>${t("train.compare")}</a>`}</div>`;
}

/** @param {any} job @returns {number} the share of a training that is done, before its first step that of what is prepared */
function share(job) {
    const {step = 0, steps, prepare} = job.progress;
    if (step === 0 && prepare && prepare.total) return prepare.done / prepare.total;
    return steps ? step / steps : 0;
}

function Facts({job}) {
    const {step = 0, steps, eta, epoch, epochs, rate, memory_mb: memory} = job.progress;
    const facts = [
        steps && ["train.stepLabel", t("train.of", {done: step, total: steps})],
        epoch && ["train.epochLabel", t("train.of", {done: epoch, total: epochs})],
        eta > 0 && ["train.left", duration(eta)],
        rate && ["train.speed", t("train.rate", {rate: rate.toFixed(2)})],
        memory && ["train.memoryLabel", t("train.memory", {size: (memory / 1024).toFixed(1)})],
    ].filter(Boolean);
    return html`<dl class="facts">${facts.map(([word, value]) => html`<div><dt>${t(word)}</dt><dd>${value}</dd></div>`)}</dl>`;
}
