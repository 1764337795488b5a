// Captions beside their images: read, corrected, written by a captioner.

import {useEffect, useState} from "preact/hooks";
import {address, get, post, request} from "../api.js";
import {html} from "../html.js";
import {Wrong} from "../parts/message.js";
import {Bar} from "../parts/pill.js";
import {attempt, link, refreshJobs, system} from "../state.js";
import {t} from "../words.js";
import {useWork} from "./model.js";

const PAGE = 50;
const ENDED = ["done", "failed", "stopped", "cancelled"];

/** @param {{model: any, jobs: any[], refresh: () => Promise<void>}} properties */
export function Captions({model, jobs, refresh}) {
    const [search, setSearch] = useState("");
    const [page, setPage] = useState(/** @type {any} */ (null));
    const [words, setWords] = useState(/** @type {any} */ ({words: [], undoable: []}));
    const [problem, work] = useWork();
    const running = jobs.find((job) => job.kind === "caption" && !ENDED.includes(job.state));
    const last = jobs.find((job) => job.kind === "caption" && job.state === "failed");
    const load = async (/** @type {string} */ cursor = "") => {
        const query = new URLSearchParams({show: "included", search, limit: String(PAGE), cursor});
        const [found, used] = (await attempt(() => Promise.all([
            get(`models/${model.id}/images?${query}`), get(`models/${model.id}/captions`),
        ]))) || [];
        if (found) setPage((/** @type {any} */ before) => (cursor ? {...found, items: [...before.items, ...found.items]} : found));
        if (used) setWords(used);
    };
    useEffect(() => {
        load();
    }, [model.id, search, running && running.id]);
    const renew = async () => {
        await Promise.all([load(), refresh()]);
    };
    return html`
        <div class="cols">
            <div>
                <input type="search" aria-label=${t("captions.search")} placeholder=${t("captions.search")} value=${search}
                    onInput=${(/** @type {any} */ event) => setSearch(event.target.value)} />
                ${page === null ? html`<p class="soft">${t("loading")}</p>` : html`
                    <div class="card">${page.items.map((/** @type {any} */ image) => html`
                        <${Row} key=${image.name} model=${model} image=${image} onSaved=${renew} />`)}
                        ${page.items.length === 0 && html`<p class="soft">${t("captions.none")}</p>`}</div>
                    ${page.next && html`<button onClick=${() => load(page.next)}>${t("more")}</button>`}`}
            </div>
            <aside class="stack">
                <${Captioner} model=${model} running=${running} failed=${last} work=${work} />
                <${Change} model=${model} search=${search} work=${work} onDone=${renew} undoable=${words.undoable} />
                <${Wrong} problem=${problem} />
                <div class="card"><h2>${t("captions.words")}</h2><div class="tags">
                    ${words.words.slice(0, 60).map((/** @type {any} */ one) => html`
                        <button class="tag" onClick=${() => setSearch(`tag:${one.word}`)}>${one.word} <span class="soft">${one.images}</span></button>`)}
                </div></div>
                <a class="button main" href=${link("model", model.id, "train")}>${t("captions.next")}</a>
            </aside>
        </div>`;
}

/** @param {any} properties */
function Row({model, image, onSaved}) {
    const [text, setText] = useState(image.caption);
    const [problem, work] = useWork();
    useEffect(() => setText(image.caption), [image.caption]);
    const save = () => text !== image.caption && work(async () => {
        await request("PUT", `models/${model.id}/images/${encodePath(image.name)}/caption`, {text});
        await onSaved();
    });
    return html`
        <div class="caption">
            <img src=${address(image.thumbnail)} alt="" loading="lazy" />
            <div>
                <textarea rows="2" aria-label=${t("captions.of", {name: image.name})} value=${text}
                    onInput=${(/** @type {any} */ event) => setText(event.target.value)} onBlur=${save}></textarea>
                <span class="small soft">${[image.name, image.by].filter(Boolean).join(" · ")}</span>
                <${Wrong} problem=${problem} />
            </div>
        </div>`;
}

/** @param {string} name @returns {string} */
const encodePath = (name) => name.split("/").map(encodeURIComponent).join("/");

/** @param {any} properties */
function Captioner({model, running, failed, work}) {
    const [captioner, setCaptioner] = useState("auto");
    const known = system.value ? system.value.captioners : [];
    const needs = known.find((/** @type {any} */ one) => one.name === captioner);
    const begin = () => work(async () => {
        await post(`models/${model.id}/caption`, {config: {captioner}});
        await refreshJobs();
    });
    const done = running && running.progress.prepare;
    return html`
        <div class="card stack">
            <h2>${t("captions.captioner")}</h2>
            <select aria-label=${t("captions.captioner")} value=${captioner} onChange=${(/** @type {any} */ event) => setCaptioner(event.target.value)}>
                <option value="auto">auto</option>
                ${known.map((/** @type {any} */ one) => html`<option value=${one.name}>${one.name}</option>`)}
            </select>
            <span class="small soft">${needs ? t("captions.needs", {what: needs.needs}) : t("captions.auto")}</span>
            ${running && html`<${Bar} share=${done && done.total ? done.done / done.total : 0} label=${t("captions.captioning")} />`}
            <button disabled=${Boolean(running)} onClick=${begin}>${t(running ? "captions.captioning" : "captions.begin")}</button>
            ${!running && failed && html`<p class="small error" role="alert">${failed.reason}</p>`}
        </div>`;
}

/** @param {any} properties */
function Change({model, search, work, onDone, undoable}) {
    const [find, setFind] = useState("");
    const [replacement, setReplacement] = useState("");
    const [preview, setPreview] = useState(/** @type {any} */ (null));
    const change = (/** @type {boolean} */ look) => work(async () => {
        const body = {operation: "replace", find, replacement, search, preview: look};
        const done = await post(`models/${model.id}/captions`, body);
        setPreview(look ? done : null);
        if (!look) await onDone();
    });
    const undo = () => work(async () => {
        await post(`models/${model.id}/captions/undo`);
        await onDone();
    });
    const field = (/** @type {string} */ word, /** @type {string} */ value, /** @type {(text: string) => void} */ set) => html`
        <input aria-label=${t(word)} placeholder=${t(word)} value=${value} onInput=${(/** @type {any} */ event) => set(event.target.value)} />`;
    return html`
        <div class="card stack">
            <h2>${t("captions.replace")}</h2>
            ${field("captions.find", find, setFind)} ${field("captions.with", replacement, setReplacement)}
            <div class="row"><button disabled=${!find} onClick=${() => change(true)}>${t("captions.preview")}</button>
                ${preview && html`<button class="main" disabled=${!preview.changed} onClick=${() => change(false)}>
                    ${t("captions.apply", {count: preview.changed})}</button>`}
                <button class="quiet" disabled=${!undoable.length} onClick=${undo}>${t("captions.undo")}</button></div>
            ${preview && preview.changes.slice(0, 5).map((/** @type {any} */ one) => html`
                <p class="small"><s class="soft">${one.before}</s><br />${one.after}</p>`)}
        </div>`;
}
