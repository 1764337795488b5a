// All catalogues as cards, and the one that is opened.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {lazy} from "../lazy.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {useWork} from "../parts/work.js";
import {attempt, go, isOpen, jobs, link} from "../state.js";
import {day, t} from "../words.js";

const Catalogue = lazy(() => import("./catalogue.js").then(({Catalogue}) => Catalogue), "catalogues");

/** @param {{rest: string[]}} properties the id of a catalogue and what of it is shown; without: the list */
export function Catalogues({rest}) {
    const [id, ...further] = rest;
    return id ? html`<${Catalogue} key=${id} id=${id} rest=${further} />` : html`<${List} />`;
}

function List() {
    const [items, setItems] = useState(/** @type {any[] | null} */ (null));
    const [asked, setAsked] = useState(false);
    const stand = (jobs.value || []).map((job) => `${job.id}${job.state}`).join();
    useEffect(() => {
        let current = true;
        attempt(() => get("catalogues")).then((found) => current && found && setItems(found.items));
        return () => {
            current = false;
        };
    }, [stand]);
    return html`
        <div class="row"><div><h1>${t("catalogues.title")}</h1><span class="soft">${t("catalogues.subtitle")}</span></div>
            <span class="space"></span><a class="button" href=${link("comparison")}>${t("catalogues.compare")}</a></div>
        ${items === null ? html`<p class="soft">${t("loading")}</p>` : html`
            ${items.length === 0 && html`<ol class="card welcome">${["products", "choose", "handover"].map((step) => html`
                <li><b>${t(`catalogue.${step}`)}</b> ${t(`catalogues.step.${step}`)}</li>`)}</ol>`}
            <div class="shelf">
                <button class="new" onClick=${() => setAsked(true)}><span class="plus" aria-hidden="true">+</span>
                    <b>${t("catalogues.new")}</b><span class="small">${t("catalogues.newHint")}</span></button>
                ${items.map((one) => html`<${Card} key=${one.id} catalogue=${one} />`)}
            </div>`}
        ${asked && html`<${NewCatalogue} onClose=${() => setAsked(false)} />`}`;
}

function Card({catalogue}) {
    const {counts, products, job} = catalogue;
    const decided = counts.approved + counts.rejected;
    const figures = ["drawn", "failed", "unmatched"].filter((state) => counts[state] > 0);
    return html`<a class="card" href=${link("catalogues", catalogue.id)}><div class="text stack">
        <div><b>${catalogue.name || t("catalogues.nameless")}</b> ${job && isOpen(job) && html`<${Pill} state=${job.state} />`}</div>
        <div class="small soft">${t("catalogues.products", {count: products})} · ${day(catalogue.created)}</div>
        <${Bar} share=${products ? decided / products : 0} label=${t("catalogues.decided", {done: decided, total: products})} />
        <div class="small soft">${t("catalogues.decided", {done: decided, total: products})}</div>
        ${figures.length > 0 && html`<div class="tags">${figures.map((state) => html`
            <span class=${state === "drawn" ? "pill" : "pill warn"}>${counts[state]} ${t(`product.${state}`)}</span>`)}</div>`}
    </div></a>`;
}

/** @param {{onClose: () => void}} properties */
function NewCatalogue({onClose}) {
    const [name, setName] = useState("");
    const [problem, work] = useWork();
    const create = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            const made = await post("catalogues", {name: name.trim()});
            onClose();
            go("catalogues", made.id, "products");
        });
    };
    return html`<${Dialog} title=${t("catalogues.new")} onClose=${onClose}><form onSubmit=${create}>
        <${Field} id="name" label=${t("catalogues.name")} hint=${t("catalogues.nameHint")}>
            <input ...${tied("name")} value=${name} required maxlength="200" autocomplete="off" onInput=${typed(setName)} /><//>
        <${Wrong} problem=${problem} />
        <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button><button class="main">${t("catalogues.create")}</button></div>
    </form><//>`;
}
