// The queue: what runs, what waits in which order, what has ended.

import {useState} from "preact/hooks";
import {post, Problem, remove} from "../api.js";
import {html} from "../html.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {jobs, queue, refreshJobs} from "../state.js";
import {duration, t} from "../words.js";

const ENDED = ["done", "failed", "stopped", "cancelled"];

export function Queue() {
    const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
    const [dragged, setDragged] = useState("");
    if (jobs.value === null || queue.value === null) return html`<p class="soft">${t("loading")}</p>`;
    const act = async (/** @type {() => Promise<unknown>} */ work) => {
        try {
            await work();
            setProblem(null);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            setProblem(error);
        }
        await refreshJobs();
    };
    const paused = queue.value.paused;
    const open = jobs.value.filter((job) => !ENDED.includes(job.state));
    const ended = jobs.value.filter((job) => ENDED.includes(job.state));
    const rows = {act, dragged, setDragged, waiting: open.filter((job) => job.state === "queued")};
    return html`
        <div class="row">
            <div><h1>${t("queue.title")}</h1><span class="soft">${t("queue.subtitle")}</span></div>
            <span class="space"></span>
            ${paused && html`<span class="pill warn" role="status">${t("queue.paused")}</span>`}
            <button class=${paused ? "main" : ""} onClick=${() => act(() => post(paused ? "queue/continue" : "queue/pause"))}>
                ${paused ? t("queue.continue") : t("queue.pause")}</button>
        </div>
        <${Wrong} problem=${problem} />
        ${open.length === 0 && html`<p class="soft">${t("queue.none")}</p>`}
        ${open.length > 0 && html`<${Table} jobs=${open} ...${rows} />`}
        ${ended.length > 0 && html`<h2>${t("queue.ended")}</h2><${Table} jobs=${ended} ...${rows} />`}`;
}

/** @param {any} properties */
function Table({jobs: shown, ...rows}) {
    return html`
        <div class="card table"><table>
            <thead><tr>
                <th>${t("queue.job")}</th><th>${t("queue.what")}</th><th>${t("queue.state")}</th>
                <th class="wide">${t("queue.progress")}</th><th>${t("queue.actions")}</th>
            </tr></thead>
            <tbody>${shown.map((/** @type {any} */ job) => html`<${Row} key=${job.id} job=${job} ...${rows} />`)}</tbody>
        </table></div>`;
}

/** @param {any} properties */
function Row({job, act, dragged, setDragged, waiting}) {
    const index = waiting.findIndex((/** @type {any} */ one) => one.id === job.id);
    const move = (/** @type {string | null} */ before) => act(() => post(`jobs/${job.id}/move`, {before}));
    const waits = job.state === "queued";
    return html`
        <tr draggable=${waits} class=${dragged === job.id ? "dragged" : ""} title=${waits ? t("queue.drag") : undefined}
            onDragStart=${() => setDragged(job.id)} onDragEnd=${() => setDragged("")}
            onDragOver=${(/** @type {DragEvent} */ event) => waits && dragged && event.preventDefault()}
            onDrop=${() => waits && dragged !== job.id && act(() => post(`jobs/${dragged}/move`, {before: job.id}))}>
            <td><b>${job.name}</b></td>
            <td>${t(`job.${job.kind}`)}</td>
            <td><${Pill} state=${job.state} /></td>
            <td><${Progress} job=${job} /></td>
            <td class="actions">
                ${waits && index > 0 && html`<button class="quiet" aria-label=${`${t("queue.up")}: ${job.name}`}
                    onClick=${() => move(waiting[index - 1].id)}>↑</button>`}
                ${waits && index < waiting.length - 1 && html`<button class="quiet" aria-label=${`${t("queue.down")}: ${job.name}`}
                    onClick=${() => move(waiting[index + 2] ? waiting[index + 2].id : null)}>↓</button>`}
                <${Actions} job=${job} act=${act} />
            </td>
        </tr>`;
}

/** @param {any} properties */
function Actions({job, act}) {
    const button = (/** @type {string} */ word, /** @type {() => Promise<unknown>} */ work) => html`
        <button aria-label=${`${t(word)}: ${job.name}`} onClick=${() => act(work)}>${t(word)}</button>`;
    if (job.state === "queued") return button("queue.cancel", () => post(`jobs/${job.id}/cancel`));
    if (["starting", "running"].includes(job.state)) return button("queue.stop", () => post(`jobs/${job.id}/stop`));
    const again = {failed: "queue.retry", stopped: "queue.resume", cancelled: "queue.retry"}[/** @type {string} */ (job.state)];
    return html`
        ${again && button(again, () => post(`jobs/${job.id}/retry`))}
        ${ENDED.includes(job.state) && button("queue.forget", () => remove(`jobs/${job.id}`))}`;
}

/** @param {any} properties */
function Progress({job}) {
    const {step = 0, steps, eta, prepare} = job.progress;
    if (["running", "stopping"].includes(job.state)) {
        const share = steps ? step / steps : prepare && prepare.total ? prepare.done / prepare.total : 0;
        const words = [steps ? t("job.steps", {step, steps}) : job.status, eta && t("job.left", {time: duration(eta)})];
        return html`<${Bar} share=${share} label=${job.name} /><span class="small soft">${words.filter(Boolean).join(" · ")}</span>`;
    }
    return html`<span class=${job.state === "failed" ? "small error" : "small soft"}>${job.waits_for || job.reason}</span>`;
}
