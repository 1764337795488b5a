// All models as cards, and the three questions that make a new one.

import {useEffect, useState} from "preact/hooks";
import {address, get, post, Problem} from "../api.js";
import {html} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {Wrong} from "../parts/message.js";
import {Pill} from "../parts/pill.js";
import {attempt, go, jobs, link} from "../state.js";
import {t} from "../words.js";

const KINDS = ["brand_style", "product", "character", "car"];
const PAGE = 48;

export function Models() {
    const [search, setSearch] = useState("");
    const [kind, setKind] = useState("");
    const [asked, setAsked] = useState(false);
    const [limit, setLimit] = useState(PAGE);
    const [page, setPage] = useState(/** @type {any} */ (null));
    const stand = (jobs.value || []).map((job) => `${job.id}${job.state}`).join();
    useEffect(() => {
        let current = true;
        const query = new URLSearchParams({search, kind, limit: String(limit)});
        attempt(() => get(`models?${query}`)).then((found) => current && found && setPage(found));
        return () => {
            current = false;
        };
    }, [search, kind, limit, stand]);
    return html`
        <div class="row">
            <div><h1>${t("models.title")}</h1><span class="soft">${t("models.subtitle")}</span></div>
            <span class="space"></span>
            <input type="search" class="search" aria-label=${t("models.search")} placeholder=${t("models.search")}
                value=${search} onInput=${(/** @type {any} */ event) => setSearch(event.target.value)} />
            <select aria-label=${t("models.kinds")} value=${kind} onChange=${(/** @type {any} */ event) => setKind(event.target.value)}>
                <option value="">${t("models.kinds")}</option>
                ${KINDS.map((one) => html`<option value=${one}>${t(`kind.${one}`)}</option>`)}
            </select>
        </div>
        ${page === null ? html`<p class="soft">${t("loading")}</p>` : html`
            <div class="shelf">
                <button class="new" onClick=${() => setAsked(true)}>
                    <span class="plus" aria-hidden="true">+</span><b>${t("models.new")}</b>
                    <span class="small">${t("models.newHint")}</span>
                </button>
                ${page.items.map((/** @type {any} */ model) => html`<${Card} key=${model.id} model=${model} />`)}
            </div>
            ${page.items.length === 0 && (search || kind) && html`<p class="soft">${t("models.none")}</p>`}
            ${page.next && html`<button onClick=${() => setLimit(limit + PAGE)}>${t("more")}</button>`}`}
        ${asked && html`<${NewModel} onClose=${() => setAsked(false)} />`}`;
}

/** @param {{model: any}} properties */
function Card({model}) {
    const state = model.state;
    return html`
        <a class="card" href=${link("model", model.id)}>
            ${model.cover ? html`<img src=${address(model.cover)} alt="" loading="lazy" />` : html`<div class="blank"></div>`}
            <div class="text">
                <b>${model.name}</b> <${Pill} state=${state.standing} share=${state.share} />
                <div class="small soft">${[t(`kind.${model.kind}`), model.trigger_word,
                    state.versions > 0 && t("models.versions", {count: state.versions})].filter(Boolean).join(" · ")}</div>
                ${state.standing === "failed" && html`<div class="small error">${state.reason}</div>`}
            </div>
        </a>`;
}

/** @param {{onClose: () => void}} properties */
function NewModel({onClose}) {
    const [draft, setDraft] = useState({name: "", kind: "brand_style", trigger_word: "", folder: ""});
    const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
    const [advice, setAdvice] = useState("");
    const set = (/** @type {Record<string, string>} */ change) => setDraft({...draft, ...change});
    const suggest = async () => {
        if (!draft.name.trim()) return;
        const query = new URLSearchParams(draft.trigger_word ? {word: draft.trigger_word} : {name: draft.name});
        const found = await attempt(() => get(`trigger-word?${query}`));
        if (!found) return;
        setAdvice(found.advice);
        if (!draft.trigger_word) set({trigger_word: found.word});
    };
    const create = async (/** @type {Event} */ event) => {
        event.preventDefault();
        try {
            const model = await post("models", draft);
            onClose();
            go("model", model.id);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            setProblem(error);
        }
    };
    const wrong = (/** @type {string} */ field) => (problem && problem.field === field ? problem.message : undefined);
    const text = (/** @type {"name" | "trigger_word" | "folder"} */ key, /** @type {string} */ id, /** @type {string} */ word,
        /** @type {string} */ hint) => html`
        <${Field} id=${id} label=${t(`new.${word}`)} hint=${hint} error=${wrong(key)}>
            <input ...${tied(id, wrong(key))} value=${draft[key]} onInput=${(/** @type {any} */ event) => set({[key]: event.target.value})}
                onBlur=${key === "folder" ? undefined : suggest} autocomplete="off" />
        <//>`;
    const loose = problem && !["name", "trigger_word", "folder"].includes(problem.field || "") ? problem : null;
    return html`
        <${Dialog} title=${t("models.new")} onClose=${onClose}>
            <form onSubmit=${create}>
                <fieldset class="goals"><legend>${t("new.what")}</legend>
                    ${KINDS.map((kind) => html`
                        <label class=${kind === draft.kind ? "goal on" : "goal"}>
                            <input type="radio" name="kind" checked=${kind === draft.kind} onChange=${() => set({kind})} />
                            <b>${t(`kind.${kind}`)}</b><span class="small soft">${t(`kind.${kind}.hint`)}</span>
                        </label>`)}
                </fieldset>
                ${text("name", "new-name", "name", t("new.nameHint"))}
                ${text("trigger_word", "new-trigger", "trigger", advice || t("new.triggerHint"))}
                ${text("folder", "new-folder", "folder", t("new.folderHint"))}
                <${Wrong} problem=${loose} />
                <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
                    <button class="main">${t("new.create")}</button></div>
            </form>
        <//>`;
}
