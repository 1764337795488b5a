// All models as cards.

import {useEffect, useState} from "preact/hooks";
import {address, get} from "../api.js";
import {html, typed} from "../html.js";
import {lazy} from "../lazy.js";
import {Pill, Verdict} from "../parts/pill.js";
import {attempt, jobs, KINDS, link} from "../state.js";
import {t} from "../words.js";

const Dialogs = {
    new: lazy(() => import("./new_model.js").then(({NewModel}) => NewModel), "new"),
    import: lazy(() => import("./import_loras.js").then(({ImportLoras}) => ImportLoras), "library", "new"),
    merge: lazy(() => import("./merge.js").then(({Merge}) => Merge), "library", "new"),
};
/** What the list may be narrowed to, as a query of the API: how far models are, what people say, those put aside. */
const STATES = ["draft", "queued", "training", "done", "failed", "stopped"];
const REVIEWS = ["requested", "approved", "rejected"];
const PAGE = 48;

export function Models() {
    const [search, setSearch] = useState("");
    const [kind, setKind] = useState("");
    const [filter, setFilter] = useState("");
    const [asked, setAsked] = useState(/** @type {"" | keyof typeof Dialogs} */ (""));
    const [limit, setLimit] = useState(PAGE);
    const [page, setPage] = useState(/** @type {any} */ (null));
    const stand = (jobs.value || []).map((job) => `${job.id}${job.state}`).join();
    useEffect(() => {
        let current = true;
        const query = new URLSearchParams({search, kind, limit: String(limit), ...Object.fromEntries(new URLSearchParams(filter))});
        attempt(() => get(`models?${query}`)).then((found) => current && found && setPage(found));
        return () => {
            current = false;
        };
    }, [search, kind, filter, limit, stand, asked]);
    const nothing = page && page.items.length === 0;
    const filtered = Boolean(search || kind || filter);
    const Asked = asked && Dialogs[asked];
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
            <select aria-label=${t("models.states")} value=${filter} onChange=${typed(setFilter)}>
                <option value="">${t("models.states")}</option>
                ${STATES.map((one) => html`<option value=${`state=${one}`}>${t(`state.${one}`)}</option>`)}
                <optgroup label=${t("models.reviews")}>${REVIEWS.map((one) => html`<option value=${`review=${one}`}>${t(`review.${one}`)}</option>`)}</optgroup>
                <option value="retired=true">${t("models.retired")}</option>
            </select>
            <button onClick=${() => setAsked("import")}>${t("models.import")}</button>
            <button onClick=${() => setAsked("merge")}>${t("models.merge")}</button>
        </div>
        ${page === null ? html`<p class="soft">${t("loading")}</p>` : html`
            ${nothing && !filtered && html`<${Welcome} />`}
            <div class="shelf">
                <button class="new" onClick=${() => setAsked("new")}>
                    <span class="plus" aria-hidden="true">+</span><b>${t("models.new")}</b>
                    <span class="small">${t("models.newHint")}</span>
                </button>
                ${page.items.map((model) => html`<${Card} key=${model.id} model=${model} />`)}
            </div>
            ${nothing && filtered && html`<p class="soft">${t("models.none")}</p>`}
            ${page.next && html`<button class="more" onClick=${() => setLimit(limit + PAGE)}>${t("more")}</button>`}`}
        ${Asked && html`<${Asked} onClose=${() => setAsked("")} />`}`;
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
    const review = state.review;
    // A LoRA that was not made of images here has nothing to show but itself.
    const step = state.standing === "training" || (state.versions > 0 && !model.covers.length) ? "train" : "images";
    return html`
        <a class="card" href=${link("model", model.id, step)}>
            <div class=${model.covers.length > 3 ? "cover four" : "cover"} aria-hidden="true" data-letter=${[...model.name][0]}>
                ${model.covers.slice(0, model.covers.length > 3 ? 4 : 1).map((one) => html`
                    <img src=${address(one)} alt="" loading="lazy" decoding="async" />`)}</div>
            <div class="text">
                <b>${model.name}</b> <${Pill} state=${state.standing} share=${state.share} />
                ${review && review !== "none" && html` <${Verdict} verdict=${review} />`}
                ${model.retired && html` <span class="pill grey">${t("models.retired")}</span>`}
                <div class="small soft">${[t(`kind.${model.kind}`), model.trigger_word,
                    state.versions > 0 && t("models.versions", {count: state.versions})].filter(Boolean).join(" · ")}</div>
                ${(model.tags || []).length > 0 && html`<div class="tags">${model.tags.map((tag) => html`<span class="tag still">${tag}</span>`)}</div>`}
                ${state.standing === "failed" && html`<div class="small error">${state.reason}</div>`}
            </div>
        </a>`;
}
