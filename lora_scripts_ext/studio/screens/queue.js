// The queue: what runs, what waits in which order, what has ended.

import {useState} from "preact/hooks";
import {patch, post, remove} from "../api.js";
import {html} from "../html.js";
import {Later} from "../parts/later.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {useWork} from "../parts/work.js";
import {isOpen, jobs, link, queue, refreshJobs} from "../state.js";
import {duration, moment, t} from "../words.js";

const ENDED_SHOWN = 25;

export function Queue() {
    const [problem, work] = useWork();
    const [dragged, setDragged] = useState("");
    const [scheduled, setScheduled] = useState("");
    const [limit, setLimit] = useState(ENDED_SHOWN);
    if (jobs.value === null || queue.value === null) return html`<p class="soft">${t("loading")}</p>`;
    const act = (/** @type {() => Promise<unknown>} */ what) => work(async () => {
        try {
            await what();
        } finally {
            await refreshJobs();
        }
    });
    const paused = queue.value.paused;
    const open = jobs.value.filter(isOpen);
    const ended = jobs.value.filter((job) => !isOpen(job));
    const rows = {act, dragged, setDragged, setScheduled, waiting: open.filter((job) => job.state === "queued")};
    const chosen = open.find((job) => job.id === scheduled);
    const schedule = async (/** @type {Record<string, unknown>} */ when) => {
        if (await act(() => patch(`jobs/${scheduled}`, when))) setScheduled("");
    };
    return html`
        <div class="row">
            <div><h1>${t("queue.title")}</h1><span class="soft">${t("queue.subtitle")}</span></div>
            <span class="space"></span>
            ${paused && html`<span class="pill warn" role="status">${t("queue.paused")}</span>`}
            <button class=${paused ? "main" : ""} onClick=${() => act(() => post(paused ? "queue/continue" : "queue/pause"))}>
                ${paused ? t("queue.continue") : t("queue.pause")}</button>
        </div>
        <${Wrong} problem=${chosen ? null : problem} />
        ${open.length === 0 && html`<p class="card soft">${t("queue.none")} <a href=${link("models")}>${t("models.title")}</a></p>`}
        ${open.length > 0 && html`<${Table} jobs=${open} label=${t("queue.title")} ...${rows} />`}
        ${ended.length > 0 && html`<h2>${t("queue.ended")}</h2><${Table} jobs=${ended.slice(0, limit)} label=${t("queue.ended")} ...${rows} />`}
        ${ended.length > limit && html`<button class="more" onClick=${() => setLimit(limit + ENDED_SHOWN)}>${t("more")}</button>`}
        ${chosen && html`<${Later} job=${chosen} problem=${problem} onChoose=${schedule} onClose=${() => setScheduled("")} />`}`;
}

function Table({jobs: shown, label, ...rows}) {
    return html`
        <div class="card table"><table aria-label=${label}>
            <thead><tr>
                <th scope="col">${t("queue.job")}</th><th scope="col">${t("queue.what")}</th><th scope="col">${t("queue.state")}</th>
                <th scope="col" class="wide">${t("queue.progress")}</th><th scope="col">${t("queue.actions")}</th>
            </tr></thead>
            <tbody>${shown.map((job) => html`<${Row} key=${job.id} job=${job} ...${rows} />`)}</tbody>
        </table></div>`;
}

function Row({job, act, dragged, setDragged, setScheduled, waiting}) {
    const index = waiting.findIndex((one) => one.id === job.id);
    const move = (/** @type {string | null} */ before) => act(() => post(`jobs/${job.id}/move`, {before}));
    const waits = job.state === "queued";
    const step = job.kind === "caption" ? "captions" : job.kind === "check" ? "images" : "train";
    return html`
        <tr draggable=${waits} class=${dragged === job.id ? "dragged" : ""} title=${waits ? t("queue.drag") : undefined}
            onDragStart=${() => setDragged(job.id)} onDragEnd=${() => setDragged("")}
            onDragOver=${(/** @type {DragEvent} */ event) => waits && dragged && event.preventDefault()}
            onDrop=${() => waits && dragged !== job.id && act(() => post(`jobs/${dragged}/move`, {before: job.id}))}>
            <td data-label=${t("queue.job")}>${job.model ? html`<a href=${link("model", job.model, step)}><b>${job.name}</b></a>` : html`<b>${job.name}</b>`}</td>
            <td data-label=${t("queue.what")}>${t(`job.${job.kind}`)}</td>
            <td data-label=${t("queue.state")}><${Pill} state=${job.state} /></td>
            <td data-label=${t("queue.progress")}><${Progress} job=${job} /></td>
            <td class="actions">
                ${waits && index > 0 && html`<button class="quiet" aria-label=${`${t("queue.up")}: ${job.name}`}
                    onClick=${() => move(waiting[index - 1].id)}>↑</button>`}
                ${waits && index < waiting.length - 1 && html`<button class="quiet" aria-label=${`${t("queue.down")}: ${job.name}`}
                    onClick=${() => move(waiting[index + 2] ? waiting[index + 2].id : null)}>↓</button>`}
                ${waits && html`<button class="quiet" aria-label=${`${t("queue.schedule")}: ${job.name}`}
                    onClick=${() => setScheduled(job.id)}>${t("queue.schedule")}</button>`}
                <${Actions} job=${job} act=${act} />
            </td>
        </tr>`;
}

function Actions({job, act}) {
    const button = (/** @type {string} */ word, /** @type {() => Promise<unknown>} */ work) => html`
        <button aria-label=${`${t(word)}: ${job.name}`} onClick=${() => act(work)}>${t(word)}</button>`;
    if (job.state === "queued") return button("queue.cancel", () => post(`jobs/${job.id}/cancel`));
    if (["starting", "running"].includes(job.state)) return button("queue.stop", () => post(`jobs/${job.id}/stop`));
    if (isOpen(job)) return null;
    const again = job.state === "done" ? "" : job.resumes && job.kind === "train" ? "queue.resume" : "queue.retry";
    return html`
        ${again && button(again, () => post(`jobs/${job.id}/retry`))}
        ${job.state === "failed" && job.kind === "train" && job.model && button("queue.corrected", () => post(`jobs/${job.id}/retry`, {draft: true}))}
        ${button("queue.forget", () => remove(`jobs/${job.id}`))}`;
}

function Progress({job}) {
    const {step = 0, steps, eta, prepare} = job.progress;
    if (["running", "stopping"].includes(job.state)) {
        const share = steps && step ? step / steps : prepare && prepare.total ? prepare.done / prepare.total : 0;
        const words = [step && steps ? t("job.steps", {step, steps}) : job.status, eta > 0 && t("job.left", {time: duration(eta)})];
        return html`<${Bar} share=${share} label=${job.name} /><span class="small soft">${words.filter(Boolean).join(" · ")}</span>`;
    }
    if (job.kind === "import" && job.state === "done") return html`<${Imported} result=${job.result} />`;
    const planned = job.state === "queued" ? when(job) : "";
    return html`<span class=${job.state === "failed" ? "small error" : "small soft"}>${[job.waits_for || job.reason, planned].filter(Boolean).join(" ")}</span>`;
}

function Imported({result: {models = [], known = 0, skipped = []}}) {
    return html`<span class="small soft">${[t("queue.imported", {count: models.length}), known > 0 && t("queue.known", {count: known})].filter(Boolean).join(" ")}</span>
        ${skipped.length > 0 && html`<details class="small"><summary>${t("queue.skipped", {count: skipped.length})}</summary>
            <ul class="plain">${skipped.map((one) => html`<li>${one.name || one.file}: ${one.reason}</li>`)}</ul></details>`}`;
}

/** @param {any} job @returns {string} when a job that waits may begin */
function when(job) {
    if (job.window) return t("queue.window", {window: job.window});
    return job.not_before ? t("queue.notBefore", {time: moment(job.not_before)}) : "";
}
