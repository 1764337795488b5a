// The images of a model: sent, looked at, checked, excluded.

import {useEffect, useRef, useState} from "preact/hooks";
import {address, get, post} from "../api.js";
import {html} from "../html.js";
import {Wrong} from "../parts/message.js";
import {Bar} from "../parts/pill.js";
import {attempt, link, refreshJobs} from "../state.js";
import {dropped, send} from "../uploads.js";
import {t} from "../words.js";
import {useWork} from "./model.js";

const PAGE = 200;
const SHOW = ["all", "included", "excluded", "good", "doubtful", "bad"];

/** @param {{model: any, jobs: any[], refresh: () => Promise<void>}} properties */
export function Images({model, jobs, refresh}) {
    const [show, setShow] = useState("all");
    const [page, setPage] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const checking = jobs.find((job) => job.kind === "check" && !["done", "failed", "stopped", "cancelled"].includes(job.state));
    const load = async (/** @type {string} */ cursor = "") => {
        const query = new URLSearchParams({show, limit: String(PAGE), cursor});
        const found = await attempt(() => get(`models/${model.id}/images?${query}`));
        if (found) setPage((/** @type {any} */ before) => (cursor ? {...found, items: [...before.items, ...found.items]} : found));
    };
    useEffect(() => {
        load();
    }, [model.id, show, checking && checking.id]);
    const renew = async () => {
        await Promise.all([load(), refresh()]);
    };
    const exclude = (/** @type {string[]} */ images, excluded = true) => work(async () => {
        await post(`models/${model.id}/images/exclude`, {images, excluded});
        await renew();
    });
    const check = () => work(async () => {
        await post(`models/${model.id}/check`);
        await refreshJobs();
    });
    const counts = page ? page.counts : model.counts;
    const bad = page ? page.items.filter((/** @type {any} */ one) => one.verdict === "bad" && !one.excluded) : [];
    return html`
        <div class="cols">
            <div>
                ${!model.folder && html`<${Drop} model=${model} onDone=${renew} />`}
                ${counts && html`<${Tabs} counts=${counts} show=${show} onShow=${setShow} />`}
                ${page === null ? html`<p class="soft">${t("loading")}</p>` : html`
                    <ul class="grid">${page.items.map((/** @type {any} */ image) => html`
                        <${Tile} key=${image.name} image=${image} onExclude=${exclude} />`)}</ul>
                    ${page.next && html`<${Sentinel} key=${page.next} onSeen=${() => load(page.next)} />`}`}
            </div>
            <aside class="stack">
                <div class="card stack">
                    <h2>${t("images.quality")}</h2>
                    ${counts && html`<${Counts} counts=${counts} />`}
                    ${checking && html`<${Bar} share=${share(checking)} label=${t("images.checking")} />`}
                    <button disabled=${Boolean(checking) || !counts || !counts.images} onClick=${check}>
                        ${checking ? t("images.checking") : t("images.check")}</button>
                    ${bad.length > 0 && html`<button class="main" onClick=${() => exclude(bad.map((/** @type {any} */ one) => one.name))}>
                        ${t("images.exclude", {count: bad.length})}</button>`}
                    <${Wrong} problem=${problem} />
                </div>
                <${Advice} model=${model} stand=${`${checking && checking.id}${counts && counts.included}`} />
                ${page && page.skipped.length > 0 && html`<div class="card"><h2>${t("images.skipped")}</h2><ul class="plain small">
                    ${page.skipped.map((/** @type {any} */ one) => html`<li>${one.name}: ${one.reason}</li>`)}</ul></div>`}
                <a class="button main" href=${link("model", model.id, "captions")}>${t("images.next")}</a>
            </aside>
        </div>`;
}

/** @param {any} job @returns {number} */
function share(job) {
    const done = job.progress.prepare;
    return done && done.total ? done.done / done.total : 0;
}

/** @param {any} properties */
function Drop({model, onDone}) {
    const [sending, setSending] = useState(/** @type {{name: string, share: number}[]} */ ([]));
    const [said, setSaid] = useState(/** @type {string[]} */ ([]));
    const [over, setOver] = useState(false);
    const [problem, work] = useWork();
    const input = useRef(/** @type {HTMLInputElement | null} */ (null));
    const take = async (/** @type {File[]} */ files) => {
        setSaid([]);
        for (const [index, file] of files.entries()) {
            const ok = await work(async () => {
                const progress = (/** @type {number} */ share) => setSending(
                    files.slice(index).map((one, behind) => ({name: one.name, share: behind ? 0 : share})));
                progress(0);
                const taken = await send(model.id, file, progress);
                const lines = taken.skipped.map((one) => `${one.name}: ${one.reason}`);
                setSaid((before) => [...before, ...lines]);
            });
            if (!ok) break;
        }
        setSending([]);
        await onDone();
    };
    const drop = async (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer) await take(await dropped(event.dataTransfer));
    };
    const over_ = (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        setOver(true);
    };
    return html`
        <div class=${over ? "drop over" : "drop"} onDragOver=${over_} onDragLeave=${() => setOver(false)} onDrop=${drop}>
            <b>${t("images.drop")}</b>
            <button onClick=${() => input.current?.click()}>${t("images.choose")}</button>
            <input ref=${input} type="file" multiple hidden onChange=${(/** @type {any} */ event) => take([...event.target.files])} />
            <span class="small">${t("images.dropHint")}</span>
            ${sending.slice(0, 4).map((one) => html`<div class="sending"><span class="small">${one.name}</span>
                <${Bar} share=${one.share} label=${one.name} /></div>`)}
            ${sending.length > 4 && html`<span class="small">${t("images.waiting", {count: sending.length - 4})}</span>`}
            <${Wrong} problem=${problem} />
            ${said.map((line) => html`<p class="small error" role="status">${line}</p>`)}
        </div>`;
}

/** @param {any} properties */
function Tabs({counts, show, onShow}) {
    const of = {...counts, all: counts.images};
    return html`<div class="row filters" role="group" aria-label=${t("images.show")}>
        ${SHOW.filter((name) => name === "all" || name === show || of[name] > 0).map((name) => html`
            <button class=${name === show ? "chip on" : "chip"} aria-pressed=${name === show} onClick=${() => onShow(name)}>
                ${t(`images.show.${name}`)} ${of[name]}</button>`)}
    </div>`;
}

/** @param {any} properties */
function Tile({image, onExclude}) {
    const reasons = image.reasons.map((/** @type {any} */ one) => one.text).join("; ");
    return html`
        <li class=${image.excluded ? "tile out" : "tile"}>
            <img src=${address(image.thumbnail)} alt=${image.caption || image.name} loading="lazy" decoding="async" />
            ${image.verdict && image.verdict !== "good" && html`<em class=${`pill ${image.verdict === "bad" ? "bad" : "warn"}`} title=${reasons}>
                ${t(`images.show.${image.verdict}`)}</em>`}
            <div class="name small" title=${image.name}>${image.name}</div>
            ${reasons && html`<div class="small soft reason">${reasons}</div>`}
            <button class="quiet small" aria-label=${`${t(image.excluded ? "images.include" : "images.leave")}: ${image.name}`}
                onClick=${() => onExclude([image.name], !image.excluded)}>${t(image.excluded ? "images.include" : "images.leave")}</button>
        </li>`;
}

/** @param {{onSeen: () => void}} properties loads more as soon as the user scrolls near it */
function Sentinel({onSeen}) {
    const element = useRef(/** @type {HTMLDivElement | null} */ (null));
    useEffect(() => {
        if (!element.current) return undefined;
        const observer = new IntersectionObserver((entries) => {
            if (entries.some((entry) => entry.isIntersecting)) {
                observer.disconnect();
                onSeen();
            }
        }, {rootMargin: "1500px"});
        observer.observe(element.current);
        return () => observer.disconnect();
    }, []);
    return html`<div ref=${element} class="soft">${t("loading")}</div>`;
}

/** @param {any} properties */
function Counts({counts}) {
    const rows = ["included", "excluded", "good", "doubtful", "bad", "unchecked", "without_caption"];
    return html`<dl class="fact">${rows.filter((name) => counts[name] > 0).map((name) => html`
        <dt>${t(`counts.${name}`)}</dt><dd>${counts[name]}</dd>`)}</dl>`;
}

/** @param {any} properties */
function Advice({model, stand}) {
    const [report, setReport] = useState(/** @type {any} */ (null));
    useEffect(() => {
        attempt(() => get(`models/${model.id}/report`)).then((found) => found && setReport(found));
    }, [model.id, stand]);
    if (!report || !report.advice.length) return null;
    return html`<div class="card"><h2>${t("images.advice")}</h2><ul class="plain small">
        ${report.advice.map((/** @type {string} */ text) => html`<li>${text}</li>`)}</ul></div>`;
}
