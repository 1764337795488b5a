// What came of a comparison: the card, the images of both, which is the best, and what bleeding was measured.

import {useEffect, useState} from "preact/hooks";
import {address, get, post} from "../api.js";
import {html} from "../html.js";
import {attempt, isOpen, link, refreshJobs} from "../state.js";
import {t} from "../words.js";
import {Wrong} from "./message.js";
import {Progress} from "./progress.js";
import {useWork} from "./work.js";

const DIGITS = 2;

/** @param {{job: any}} properties */
export function Compared({job}) {
    const [problem, work] = useWork();
    const stop = () => work(async () => {
        await post(`jobs/${job.id}/${job.state === "queued" ? "cancel" : "stop"}`);
        await refreshJobs();
    });
    return html`<section class="card stack" aria-label=${job.name}>
        <div class="row tight"><h2>${job.name}</h2><span class="space"></span><a href=${link("comparison")}>${t("comparison.new")}</a></div>
        ${isOpen(job) && html`<${Progress} job=${job} /><div><button onClick=${stop}>${t("comparison.stop")}</button></div>`}
        ${["failed", "stopped"].includes(job.state) && html`<p class=${job.state === "failed" ? "error" : "soft"} role="alert">${job.reason}</p>`}
        <${Wrong} problem=${problem} />
        ${job.state === "done" && html`<${Images} job=${job} />`}
    </section>`;
}

/** @param {string} path @returns {string} its last part */
const last = (path) => path.split(/[\\/]/).pop() || "";

function Images({job}) {
    const [files, setFiles] = useState(/** @type {Record<string, string>} */ ({}));
    const {frames, best, card, warnings} = job.result;
    useEffect(() => {
        attempt(async () => {
            const {items} = await get(`jobs/${job.id}/files`);
            setFiles(Object.fromEntries(items.map((one) => [last(one.path), address(one.address)])));
        });
    }, [job.id]);
    const of = (/** @type {string} */ path) => files[last(path)];
    if (!of(card)) return null;
    return html`
        <img class="compared" src=${of(card)} alt=${`${t("comparison.card")}: ${job.name}`} />
        ${frames.length > 0 && html`<h3>${t("comparison.both")}</h3>
            <p role="status">${best.bleeding === null ? t("comparison.unmeasured") : t("comparison.bleeding", {weight: best.weight, figure: best.bleeding.toFixed(DIGITS)})}</p>
            <div class="frames">${frames.map((one) => html`<figure key=${one.file} class=${one.file === best.file ? "best" : ""}>
                <a href=${of(one.file)} target="_blank" rel="noreferrer"><img src=${of(one.file)} alt=${`${job.name}, ${t("comparison.at", {weight: one.weight})}`} /></a>
                <figcaption>${t("comparison.at", {weight: one.weight})}${one.bleeding !== null && html` <span class="soft">${one.bleeding.toFixed(DIGITS)}</span>`}
                    ${one.file === best.file && html` <span class="pill ok">${t("comparison.best")}</span>`}</figcaption></figure>`)}</div>`}
        ${warnings.length > 0 && html`<ul class="plain small soft">${warnings.map((text) => html`<li>${text}</li>`)}</ul>`}
        <div class="row tight"><a class="button main" href=${of(card)} download=${last(card)}>${t("comparison.download")}</a>
            ${best && html`<a class="button" href=${of(best.file)} download=${last(best.file)}>${t("comparison.downloadBest")}</a>`}</div>`;
}
