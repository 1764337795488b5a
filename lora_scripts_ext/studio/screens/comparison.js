// Two products compared: what each is, what is said of them, and the card and images that come of it.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {SideCard} from "../parts/compared_side.js";
import {Compared} from "../parts/comparison_result.js";
import {Wrong} from "../parts/message.js";
import {SpecificationTable} from "../parts/specification_table.js";
import {useWork} from "../parts/work.js";
import {attempt, go, isOpen, jobs, link, refreshJobs} from "../state.js";
import {moment, t} from "../words.js";

const SHOWN = 8;
/** @typedef {{from: string, name: string, prompt: string, lora: {name: string, weight: number}, catalogue: string, product: string, photo: string, file: string, draw: boolean}} Side */
/** @type {Side} */
const EMPTY = {from: "words", name: "", prompt: "", lora: {name: "", weight: 1}, catalogue: "", product: "", photo: "", file: "", draw: false};
/** What was asked for, kept while another screen is shown. */
let kept = {left: EMPTY, right: EMPTY, rows: [["", "", ""]], title: "", layout: "wide", weights: "0.6, 0.8, 1"};

/** @param {{rest: string[]}} properties the id of a job; without: only the questions */
export function Comparison({rest}) {
    const [id] = rest;
    const [wanted, setWanted] = useState(kept);
    const [problem, work] = useWork();
    const set = (/** @type {Partial<typeof kept>} */ change) => setWanted((before) => (kept = {...before, ...change}));
    const job = useJob(id);
    const draw = () => work(async () => {
        const made = await post("jobs", {kind: "comparison", config: config(wanted)});
        await refreshJobs();
        go("comparison", made.id);
    });
    const ready = [wanted.left, wanted.right].every(isReady);
    return html`
        <div class="row"><div><h1>${t("comparison.title")}</h1><span class="soft">${t("comparison.what")}</span></div></div>
        <div class="stack">
            ${job && html`<${Compared} key=${job.id} job=${job} />`}
            <div class="two">
                <${SideCard} title=${t("comparison.left")} id="left" side=${wanted.left} onSet=${(left) => set({left})} />
                <${SideCard} title=${t("comparison.right")} id="right" side=${wanted.right} onSet=${(right) => set({right})} />
            </div>
            <${SpecificationTable} rows=${wanted.rows} onSet=${(rows) => set({rows})} />
            <section class="card stack" aria-label=${t("comparison.how")}><h2>${t("comparison.how")}</h2>
                <div class="settings">
                    <label>${t("comparison.cardTitle")}<input value=${wanted.title} maxlength="200" onInput=${typed((title) => set({title}))} /></label>
                    <label>${t("comparison.layout")}<select value=${wanted.layout} onChange=${typed((layout) => set({layout}))}>
                        <option value="wide">${t("comparison.wide")}</option><option value="tall">${t("comparison.tall")}</option></select></label>
                    <label>${t("comparison.weights")}<input value=${wanted.weights} onInput=${typed((weights) => set({weights}))} />
                        <span class="small soft">${t("comparison.weightsHint")}</span></label>
                </div>
                <div><button class="main" disabled=${!ready || Boolean(job && isOpen(job))} onClick=${draw}>${t(job ? "comparison.again" : "comparison.draw")}</button></div>
                <${Wrong} problem=${problem} />
            </section>
            <${Earlier} except=${id} />
        </div>`;
}

/** @param {string | undefined} id @returns {any} the job, as new as the list of jobs */
function useJob(id) {
    const [job, setJob] = useState(/** @type {any} */ (null));
    const known = (jobs.value || []).find((one) => one.id === id);
    const stand = known ? known.state + JSON.stringify(known.progress) : "";
    useEffect(() => {
        let current = true;
        if (!id) setJob(null);
        else attempt(() => get(`jobs/${id}`)).then((found) => current && found && setJob(found));
        return () => {
            current = false;
        };
    }, [id, stand]);
    return job && job.id === id ? job : null;
}

function Earlier({except}) {
    const others = (jobs.value || []).filter((job) => job.kind === "comparison" && job.id !== except).slice(0, SHOWN);
    if (!others.length) return null;
    return html`<section class="card" aria-label=${t("comparison.earlier")}><h2>${t("comparison.earlier")}</h2>
        <ul class="plain small">${others.map((job) => html`<li key=${job.id}><a href=${link("comparison", job.id)}>${job.name}</a> <span class="soft">${moment(job.created)}</span></li>`)}</ul></section>`;
}

/** @param {Side} side */
function isReady(side) {
    if (side.from === "catalogue") return Boolean(side.catalogue && side.product);
    return Boolean(side.from === "photo" ? side.photo : side.prompt.trim());
}

/** @param {typeof kept} wanted @returns {Record<string, unknown>} of the job */
function config({left, right, rows, title, layout, weights}) {
    const numbers = weights.split(/[,，;\s]+/).filter(Boolean).map((text) => (Number.isNaN(Number(text)) ? text : Number(text)));
    const specs = rows.filter((row) => row.some((text) => text.trim()));
    return {left: sideConfig(left), right: sideConfig(right), specs, title: title.trim(), layout, ...(numbers.length ? {weights: numbers} : {})};
}

/** @param {Side} side */
function sideConfig(side) {
    const name = side.name.trim() ? {name: side.name.trim()} : {};
    if (side.from === "photo") return {...name, photo: side.photo};
    const loras = side.lora.name.trim() ? {loras: [{name: side.lora.name.trim(), weight: side.lora.weight}]} : {};
    if (side.from === "words") return {...name, prompt: side.prompt.trim(), ...loras};
    return {...name, ...loras, catalogue: side.catalogue, product: side.product, ...(side.draw ? {photo: ""} : {})};
}
