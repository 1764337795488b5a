// Two products compared: what each is, what is said of them, and the card and images that come of it.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {SideCard} from "../parts/compared_side.js";
import {BLANK, config, formOf, isReady, NUMBERS} from "../parts/comparison_form.js";
import {Compared} from "../parts/comparison_result.js";
import {Wrong} from "../parts/message.js";
import {SpecificationTable} from "../parts/specification_table.js";
import {useWork} from "../parts/work.js";
import {attempt, go, isOpen, jobs, link, refreshJobs} from "../state.js";
import {moment, t} from "../words.js";

const SHOWN = 8;
/** @typedef {import("../parts/comparison_form.js").Form} Form */
/** What was asked for, kept while another screen is shown, and the job that it was asked of. */
let kept = {form: BLANK, job: ""};

/** @param {{rest: string[]}} properties the id of a job; without: only the questions */
export function Comparison({rest}) {
    const [id] = rest;
    const [wanted, setWanted] = useState(kept.form);
    const [problem, work] = useWork();
    const set = (/** @type {Partial<Form>} */ change) => setWanted((before) => {
        kept = {...kept, form: {...before, ...change}};
        return kept.form;
    });
    const job = useJob(id);
    useEffect(() => {
        if (!job || kept.job === job.id) return;
        // An earlier one, as it was asked for.
        kept = {form: formOf(job.config), job: job.id};
        setWanted(kept.form);
    }, [job && job.id]);
    const draw = () => work(async () => {
        const made = await post("jobs", {kind: "comparison", config: config(wanted)});
        await refreshJobs();
        kept = {...kept, job: made.id};
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
                <details><summary>${t("comparison.more")}</summary><div class="settings">
                    ${[...NUMBERS, "negative", "producer"].map((key) => html`<label>${t(`comparison.${key}`)}<input value=${wanted.more[key] || ""} placeholder=${t("comparison.usual")} maxlength="4000"
                        inputmode=${NUMBERS.includes(key) ? "decimal" : undefined} onInput=${typed((text) => set({more: {...wanted.more, [key]: text}}))} /></label>`)}
                </div></details>
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
