// The images of a model: sent, looked at, checked, excluded.

import {useEffect, useState} from "preact/hooks";
import {address, get, getAll, post} from "../api.js";
import {html} from "../html.js";
import {Drop} from "../parts/drop.js";
import {Grid} from "../parts/grid.js";
import {useImages} from "../parts/image_list.js";
import {Wrong} from "../parts/message.js";
import {Bar} from "../parts/pill.js";
import {reasons, Verdict, word as verdictWord} from "../parts/verdict.js";
import {Viewer} from "../parts/viewer.js";
import {useWork} from "../parts/work.js";
import {attempt, isOpen, link, refreshJobs} from "../state.js";
import {send} from "../uploads.js";
import {t} from "../words.js";

const SHOW = ["all", "included", "excluded", "good", "doubtful", "bad", "unchecked"];
const TEXT = 66;

/** @param {{model: any, jobs: any[], refresh: () => Promise<void>}} properties */
export function Images({model, jobs, refresh}) {
    const [show, setShow] = useState("all");
    const [opened, setOpened] = useState("");
    const [problem, work] = useWork();
    const checks = jobs.filter((job) => job.kind === "check");
    const checking = checks.find(isOpen);
    // Fetched again when a check ends, and when something else has changed the set.
    const stamp = JSON.stringify([checking ? checking.id : "", model.counts, model.folder]);
    const [found, load] = useImages(model.id, show, "", stamp);
    const renew = async () => {
        await Promise.all([load(), refresh()]);
    };
    const exclude = (/** @type {string[]} */ images, excluded = true) => work(async () => {
        await post(`models/${model.id}/images/exclude`, {images, excluded});
        await renew();
    });
    const items = found ? found.items : [];
    const counts = found ? found.counts : model.counts;
    const tile = (image) => html`
        <${Tile} key=${image.name} image=${image} onExclude=${exclude} onOpen=${() => setOpened(image.name)} />`;
    return html`
        <div class="cols">
            <div>
                ${!model.folder && html`<${Drop} send=${(file, progress) => send(model.id, file, progress)} title=${t("images.drop")} hint=${t("images.dropHint")}
                    empty=${counts && !counts.images} onDone=${renew} />`}
                ${model.folder && html`<p class="soft small">${t("images.folder")} <code>${model.folder}</code></p>`}
                ${counts && counts.images > 0 && html`<${Tabs} counts=${counts} show=${show} onShow=${setShow} />`}
                ${found === null ? html`<p class="soft">${t("loading")}</p>` : html`
                    <${Grid} items=${items} minimum=${130} height=${(/** @type {number} */ width) => width + TEXT}
                        label=${t("tab.images")} tile=${tile} />`}
                ${found && !found.complete && html`<p class="soft">${t("loading")}</p>`}
            </div>
            <aside class="stack">
                <${Quality} model=${model} counts=${counts} checking=${checking} last=${checks[0]} exclude=${exclude} work=${work} problem=${problem} />
                <${Advice} model=${model} stamp=${stamp} />
                ${found && found.skipped.length > 0 && html`<div class="card"><h2>${t("images.skipped")}</h2><ul class="plain small">
                    ${found.skipped.map((one) => html`<li>${one.name}: ${one.reason}</li>`)}</ul></div>`}
                ${found && found.warnings.map((text) => html`<p class="small warning">${text}</p>`)}
                ${counts && counts.included > 0 && html`<a class="button main" href=${link("model", model.id, "captions")}>${t("images.next")}</a>`}
            </aside>
        </div>
        ${opened && html`<${Viewer} model=${model} images=${items} name=${opened} onOpen=${setOpened} onExclude=${exclude}
            onChange=${renew} onClose=${() => setOpened("")} />`}`;
}

function Tabs({counts, show, onShow}) {
    const of = {...counts, all: counts.images};
    return html`<div class="row filters" role="group" aria-label=${t("images.show")}>
        ${SHOW.filter((name) => name === "all" || name === show || of[name] > 0).map((name) => html`
            <button class=${name === show ? "chip on" : "chip"} aria-pressed=${name === show} onClick=${() => onShow(name)}>
                ${t(`images.show.${name}`)} ${of[name]}</button>`)}
    </div>`;
}

function Tile({image, onExclude, onOpen}) {
    const why = reasons(image);
    const word = image.excluded ? "images.include" : "images.leave";
    return html`
        <li class=${image.excluded ? "tile out" : "tile"}>
            <button class="shot" aria-label=${[`${t("images.open")}: ${image.name}`, verdictWord(image)].filter(Boolean).join(", ")} onClick=${onOpen}>
                <img src=${address(image.thumbnail)} alt="" loading="lazy" decoding="async" /><${Verdict} image=${image} /></button>
            <div class="line small" title=${image.name}>${image.name}</div>
            <div class="line small soft" title=${why}>${why || (image.width ? `${image.width} × ${image.height}` : "")}</div>
            <button class="quiet small" aria-label=${`${t(word)}: ${image.name}`}
                onClick=${() => onExclude([image.name], !image.excluded)}>${t(word)}</button>
        </li>`;
}

function Quality({model, counts, checking, last, exclude, work, problem}) {
    const check = () => work(async () => {
        await post(`models/${model.id}/check`);
        await refreshJobs();
    });
    const excludeBad = () => work(async () => {
        const bad = await getAll(`models/${model.id}/images?show=bad`);
        await exclude(bad.map((one) => one.name));
    });
    const done = checking ? checking.progress.prepare : null;
    const share = done && done.total ? done.done / done.total : 0;
    const label = t("images.checking");
    return html`
        <div class="card stack">
            <h2>${t("images.quality")}</h2>
            ${counts && html`<${Counts} counts=${counts} />`}
            ${checking && html`<${Bar} share=${share} label=${label} />
                <p class="small soft" role="status">${checking.waits_for || checking.status}</p>`}
            <button class=${counts && counts.images > 0 && counts.unchecked === counts.images ? "main" : ""}
                disabled=${Boolean(checking) || !counts || !counts.images} onClick=${check}>${checking ? label : t("images.check")}</button>
            ${counts && counts.bad > 0 && html`<button class="main" onClick=${excludeBad}>${t("images.exclude", {count: counts.bad})}</button>`}
            <${Wrong} problem=${problem} />
            ${last && last.state === "failed" && html`<p class="small error" role="alert">${last.reason}</p>`}
        </div>`;
}

function Counts({counts}) {
    const rows = ["included", "excluded", "good", "doubtful", "bad", "unchecked", "without_caption"];
    return html`<dl class="fact">${rows.filter((name) => counts[name] > 0 || name === "included").map((name) => html`
        <dt>${t(`counts.${name}`)}</dt><dd>${counts[name]}</dd>`)}</dl>`;
}

function Advice({model, stamp}) {
    const [report, setReport] = useState(/** @type {any} */ (null));
    useEffect(() => {
        let current = true;
        attempt(() => get(`models/${model.id}/report`)).then((found) => current && found && setReport(found));
        return () => {
            current = false;
        };
    }, [model.id, stamp]);
    if (!report || !report.advice.length) return null;
    return html`<div class="card"><h2>${t("images.advice")}</h2><ul class="plain small">
        ${report.advice.map((text) => html`<li>${text}</li>`)}</ul></div>`;
}
