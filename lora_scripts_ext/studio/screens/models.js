// All models as cards.

import {useEffect, useState} from "preact/hooks";
import {address, get} from "../api.js";
import {html, typed} from "../html.js";
import {lazy} from "../lazy.js";
import {Pill} from "../parts/pill.js";
import {attempt, jobs, KINDS, link} from "../state.js";
import {t} from "../words.js";

const NewModel = lazy(() => import("./new_model.js").then(({NewModel}) => NewModel), "new");
const STATES = ["draft", "queued", "training", "done", "failed", "stopped"];
const PAGE = 48;

export function Models() {
    const [search, setSearch] = useState("");
    const [kind, setKind] = useState("");
    const [state, setState] = useState("");
    const [asked, setAsked] = useState(false);
    const [limit, setLimit] = useState(PAGE);
    const [page, setPage] = useState(/** @type {any} */ (null));
    const stand = (jobs.value || []).map((job) => `${job.id}${job.state}`).join();
    useEffect(() => {
        let current = true;
        const query = new URLSearchParams({search, kind, state, limit: String(limit)});
        attempt(() => get(`models?${query}`)).then((found) => current && found && setPage(found));
        return () => {
            current = false;
        };
    }, [search, kind, state, limit, stand]);
    const nothing = page && page.items.length === 0;
    const filtered = Boolean(search || kind || state);
    return html`
        <div class="row">
            <div><h1>${t("models.title")}</h1><span class="soft">${t("models.subtitle")}</span></div>
            <span class="space"></span>
            <input type="search" class="search" aria-label=${t("models.search")} placeholder=${t("models.search")}
                value=${search} onInput=${typed(setSearch)} />
            <select aria-label=${t("models.kinds")} value=${kind} onChange=${typed(setKind)}>
                <option value="">${t("models.kinds")}</option>
                ${KINDS.map((one) => html`<option value=${one}>${t(`kind.${one}`)}</option>`)}
            </select>
            <select aria-label=${t("models.states")} value=${state} onChange=${typed(setState)}>
                <option value="">${t("models.states")}</option>
                ${STATES.map((one) => html`<option value=${one}>${t(`state.${one}`)}</option>`)}
            </select>
        </div>
        ${page === null ? html`<p class="soft">${t("loading")}</p>` : html`
            ${nothing && !filtered && html`<${Welcome} />`}
            <div class="shelf">
                <button class="new" onClick=${() => setAsked(true)}>
                    <span class="plus" aria-hidden="true">+</span><b>${t("models.new")}</b>
                    <span class="small">${t("models.newHint")}</span>
                </button>
                ${page.items.map((model) => html`<${Card} key=${model.id} model=${model} />`)}
            </div>
            ${nothing && filtered && html`<p class="soft">${t("models.none")}</p>`}
            ${page.next && html`<button class="more" onClick=${() => setLimit(limit + PAGE)}>${t("more")}</button>`}`}
        ${asked && html`<${NewModel} onClose=${() => setAsked(false)} />`}`;
}

// What a first visitor does, in three sentences.
function Welcome() {
    return html`<ol class="card welcome">
        ${["images", "captions", "train"].map((step) => html`<li><b>${t(`tab.${step}`)}</b> ${t(`welcome.${step}`)}</li>`)}
    </ol>`;
}

/** @param {{model: any}} properties */
function Card({model}) {
    const state = model.state;
    return html`
        <a class="card" href=${link("model", model.id, state.standing === "training" ? "train" : "images")}>
            <div class=${model.covers.length > 3 ? "cover four" : "cover"} aria-hidden="true">
                ${model.covers.slice(0, model.covers.length > 3 ? 4 : 1).map((one) => html`
                    <img src=${address(one)} alt="" loading="lazy" decoding="async" />`)}</div>
            <div class="text">
                <b>${model.name}</b> <${Pill} state=${state.standing} share=${state.share} />
                <div class="small soft">${[t(`kind.${model.kind}`), model.trigger_word,
                    state.versions > 0 && t("models.versions", {count: state.versions})].filter(Boolean).join(" · ")}</div>
                ${state.standing === "failed" && html`<div class="small error">${state.reason}</div>`}
            </div>
        </a>`;
}
