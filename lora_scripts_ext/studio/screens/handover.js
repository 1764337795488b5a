// Handing over: approved images made fit for each channel, with a list of them; and training on them.

import {useEffect, useState} from "preact/hooks";
import {address, get, post} from "../api.js";
import {html, typed} from "../html.js";
import {DraftField} from "../parts/draft_field.js";
import {CopyCard} from "../parts/copy_card.js";
import {Finished} from "../parts/finished.js";
import {Wrong} from "../parts/message.js";
import {Progress} from "../parts/progress.js";
import {useWork} from "../parts/work.js";
import {attempt, isOpen, jobs, link, refreshJobs} from "../state.js";
import {t} from "../words.js";

const SHOWN = 8;
const MOST = 500;

/** @param {{catalogue: any, path: string, refresh: () => Promise<unknown>}} properties */
export function Handover({catalogue, path, refresh}) {
    const [undecided, setUndecided] = useState(false);
    const [titles, setTitles] = useState(/** @type {Record<string, string>} */ ({}));
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(async () => setTitles(Object.fromEntries((await get("channels")).items.map((one) => [one.name, one.title]))));
    }, []);
    const {counts, settings} = catalogue;
    const known = (jobs.value || []).find((one) => catalogue.export && one.id === catalogue.export.id);
    const job = known || catalogue.export;
    const running = Boolean(job && isOpen(job));
    const begin = () => work(async () => {
        await post(`${path}/export`, {undecided});
        await Promise.all([refreshJobs(), refresh()]);
    });
    const nothing = !counts.approved && !(undecided && counts.drawn);
    return html`<div class="cols"><div class="stack">
        <section class="card stack" aria-label=${t("catalogue.handover")}>
            <h2>${t("handover.title")}</h2>
            <p>${t("handover.what")}</p>
            <${Chosen} settings=${settings} id=${catalogue.id} titles=${titles} />
            <${Missing} catalogue=${catalogue} />
            ${counts.drawn > 0 && html`<label class="check"><input type="checkbox" checked=${undecided} onChange=${() => setUndecided(!undecided)} /> ${t("handover.undecided", {count: counts.drawn})}</label>`}
            ${running ? html`<${Progress} job=${job} />` : html`<div><button class="main" disabled=${nothing || !settings.channels.length} onClick=${begin}>
                ${t(catalogue.manifest ? "handover.again" : "handover.begin")}</button></div>`}
            <${Wrong} problem=${problem} />
            ${!running && job && job.state === "failed" && html`<p class="error" role="alert">${job.reason}</p>`}
        </section>
        ${!running && job && job.state === "done" && html`<${Done} result=${job.result} manifest=${catalogue.manifest} stamp=${job.id} titles=${titles} />`}
    </div><aside class="stack"><${CopyCard} catalogue=${catalogue} path=${path} refresh=${refresh} /><${Training} path=${path} counts=${counts} /></aside></div>`;
}

function Chosen({settings, id, titles}) {
    if (!settings.channels.length) return html`<p class="notice"><b>${t("handover.channels")}</b> <a href=${link("catalogues", id, "products")}>${t("catalogue.products")}</a></p>`;
    return html`<div class="tags">${settings.channels.map((name) => html`<span class="tag still">${titles[name] || name.split(/[\\/]/).pop()}</span>`)}</div>`;
}

// What nobody has decided about, or cannot be handed over.
function Missing({catalogue}) {
    const {counts, products} = catalogue;
    const rows = ["drawn", "waiting", "failed", "rejected", "unmatched", "ready"].filter((state) => counts[state] > 0);
    return html`<dl class="fact narrow"><dt>${t("product.approved")}</dt><dd>${t("catalogues.of", {done: counts.approved, total: products})}</dd>
        ${rows.map((state) => html`<dt>${t(`product.${state}`)}</dt><dd>${counts[state]}</dd>`)}</dl>
        ${rows.length > 0 && html`<p class="small soft">${t("handover.missing", {count: products - counts.approved})} <a href=${link("catalogues", catalogue.id, "choose")}>${t("catalogue.choose")}</a></p>`}`;
}

function Done({result, manifest, stamp, titles}) {
    const folder = (result.manifest || "").replace(/[\\/][^\\/]*$/, "");
    return html`<section class="card stack" aria-label=${t("handover.done")}><h2>${t("handover.done")}</h2>
        <p role="status">${[t("handover.images", {count: result.images}), result.withdrawn > 0 && t("handover.withdrawn", {count: result.withdrawn})].filter(Boolean).join(" ")}</p>
        <p class="small soft">${t("handover.folder")} <code>${folder}</code></p>
        ${manifest && html`<div class="row tight"><a class="button main" href=${address(manifest.replace(/\/manifest\.json$/, ".zip"))} download>${t("handover.zip")}</a>
            <a class="button" href=${address(manifest.replace(/\.json$/, ".csv"))} download>${t("handover.csv")}</a>
            <a class="button" href=${address(manifest)} download>${t("handover.json")}</a></div>`}
        ${manifest && html`<${Finished} manifest=${manifest} stamp=${stamp} titles=${titles} />`}
        <${Sentences} title=${t("handover.refused", {count: result.refused.length})} items=${result.refused} kind="error" />
        <${Sentences} title=${t("handover.warnings", {count: result.warnings.length})} items=${result.warnings} kind="warning" />
    </section>`;
}

function Sentences({title, items, kind}) {
    if (!items.length) return null;
    return html`<details open=${items.length <= SHOWN}><summary class=${kind}>${title}</summary><ul class="plain small">${items.map((text) => html`<li>${text}</li>`)}</ul></details>`;
}

function Training({path, counts}) {
    const [models, setModels] = useState(/** @type {any[]} */ ([]));
    const [model, setModel] = useState("");
    const [share, setShare] = useState(30);
    const [fed, setFed] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(async () => setModels((await get(`models?limit=${MOST}`)).items));
    }, []);
    const feed = () => work(async () => setFed(await post(`${path}/feedback`, {model, share: share / 100})));
    return html`<section class="card stack" aria-label=${t("handover.train")}><h2>${t("handover.train")}</h2>
        <p class="small">${t("handover.trainWhat", {share})}</p>
        <div><label for="feed-model">${t("handover.model")}</label><select id="feed-model" value=${model} onChange=${typed(setModel)}><option value="">${t("handover.modelChoose")}</option>
            ${models.map((one) => html`<option value=${one.id}>${one.name}</option>`)}</select></div>
        <label class="check">${t("handover.share")} <${DraftField} class="short" type="number" min="1" max="100" value=${share} onCommit=${(/** @type {string} */ text) => setShare(Number(text))} /> %</label>
        <button disabled=${!model || !counts.approved} onClick=${feed}>${t("handover.feed", {count: counts.approved})}</button>
        <${Wrong} problem=${problem} />
        ${fed && html`<p class="small" role="status">${[t("handover.added", {count: fed.added.length}), fed.kept > 0 && t("handover.kept", {count: fed.kept}),
            fed.left_out > 0 && t("handover.leftOut", {count: fed.left_out}), t("handover.now", {share: Math.round(100 * fed.share)})].filter(Boolean).join(" ")}
            ${" "}<a href=${link("model", model, "images")}>${t("handover.open")}</a></p>`}
    </section>`;
}
