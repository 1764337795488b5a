// Compare: the images of each checkpoint at each strength side by side, and what people decide about them.

import {useCallback, useEffect, useState} from "preact/hooks";
import {address, get, post} from "../api.js";
import {html, typed} from "../html.js";
import {baseName, checkpointName, strengthText} from "../parts/checkpoint.js";
import {Choice, Pair} from "../parts/choice.js";
import {Decisions} from "../parts/decisions.js";
import {Wrong} from "../parts/message.js";
import {Bar, Pill} from "../parts/pill.js";
import {Publications} from "../parts/publications.js";
import {BlindSheet, Sheet} from "../parts/sheet.js";
import {Wishes} from "../parts/wishes.js";
import {useWork} from "../parts/work.js";
import {attempt, go, isOpen, jobs as allJobs, link, refreshJobs} from "../state.js";
import {t} from "../words.js";

const PERIOD = 2500;
const NOTHING = {cells: [], checkpoints: [], strengths: [], prompts: []};

/** @typedef {{checkpoint: string | null, strength: number}} Place of an image on the sheet; null: without the LoRA */

/** @param {{model: any, rest: string[], refresh: () => Promise<void>}} properties `rest`: a version's number, and "blind" */
export function Compare({model, rest, refresh}) {
    const [versions, setVersions] = useState(/** @type {any[] | null} */ (null));
    const stand = `${model.state.versions} ${model.changed} ${model.state.review}`;
    const load = useCallback(async () => {
        const found = await attempt(() => get(`models/${model.id}/versions`));
        if (found) setVersions([...found.items].sort((one, other) => other.number - one.number));
    }, [model.id]);
    useEffect(() => {
        load();
    }, [load, stand]);
    if (!versions) return html`<p class="soft">${t("loading")}</p>`;
    if (!versions.length) {
        return html`<p class="card soft">${t("compare.untrained")} <a href=${link("model", model.id, "train")}>${t("tab.train")}</a></p>`;
    }
    const version = versions.find((one) => String(one.number) === rest[0]) || versions[0];
    const changed = async () => {
        await Promise.all([load(), refresh()]);
    };
    return html`<${OfVersion} key=${version.id} model=${model} version=${version} versions=${versions}
        blind=${rest[1] === "blind"} onChange=${changed} />`;
}

function OfVersion({model, version, versions, blind, onChange}) {
    const path = `models/${model.id}/versions/${version.number}`;
    const [review, setReview] = useState(/** @type {any} */ (null));
    const [prompt, setPrompt] = useState(0);
    const [chosen, setChosen] = useState(/** @type {Place[]} */ ([]));
    const [asked, setAsked] = useState(false);
    const [problem, work] = useWork();
    const job = review && (allJobs.value || []).find((one) => one.id === review.job);
    const drawing = Boolean(job && isOpen(job));
    const load = useCallback(async () => {
        const found = await attempt(() => get(`${path}/review`));
        if (found) setReview(found);
    }, [path]);
    useEffect(() => {
        load();
        const timer = drawing ? setInterval(load, PERIOD) : undefined;
        return () => clearInterval(timer);
    }, [load, drawing, job && job.state]);
    if (!review) return html`<p class="soft">${t("loading")}</p>`;
    const draw = (/** @type {Record<string, unknown>} */ wishes) => work(async () => {
        await post(`${path}/review`, wishes);
        await Promise.all([load(), refreshJobs()]);
        setAsked(false);
        setChosen([]);
    });
    const seeBlindly = (/** @type {boolean} */ on) => go(...["model", model.id, "compare", String(version.number), on ? "blind" : ""].filter(Boolean));
    const sheet = sheetOf(review, prompt);
    const choose = (/** @type {Place} */ place) => setChosen(together(chosen, place));
    const reveal = (/** @type {Place} */ place) => {
        setChosen([place]);
        seeBlindly(false);
    };
    const name = (/** @type {Place} */ place) => nameOf(review, place);
    const shared = {sheet, chosen, name, blind};
    return html`
        <${Top} model=${model} version=${version} versions=${versions} review=${review} blind=${blind} onBlind=${seeBlindly}
            prompt=${sheet.prompt} onPrompt=${setPrompt} onAsk=${() => setAsked(true)} drawing=${drawing} />
        <${Wrong} problem=${asked ? null : problem} />
        <div class="cols broad">
            <div class="stack">
                ${job && job.state !== "done" && html`<${Drawing} job=${job} progress=${review.progress} act=${work} after=${load} />`}
                ${!blind && review.suggested && html`<${Suggested} review=${review} onShow=${(/** @type {Place} */ place) => setChosen([place])} />`}
                ${review.cells.length === 0 ? !drawing && html`<${Begin} onDraw=${() => draw({})} onAsk=${() => setAsked(true)} />`
                    : html`<div class="card">${blind ? html`<${BlindSheet} ...${shared} onChoose=${choose} />`
                        : html`<${Sheet} ...${shared} review=${review} version=${version} onChoose=${choose} />`}</div>`}
            </div>
            <aside class="stack">
                ${chosen.length === 2 && html`<${Pair} ...${shared} onDecide=${blind ? reveal : (/** @type {Place} */ place) => setChosen([place])} />`}
                ${chosen.length === 1 && html`<${Choice} ...${shared} path=${path} trigger=${model.trigger_word} review=${review} version=${version} onReveal=${reveal} onChange=${onChange} />`}
                ${chosen.length === 0 && review.cells.length > 0 && html`<p class="card soft">${t("compare.hint")}</p>`}
                ${!blind && html`<${Decisions} path=${path} version=${version} name=${name} place=${chosen.length === 1 ? chosen[0] : null} onChange=${onChange} />
                    <${Publications} model=${model} stamp=${JSON.stringify(versions.map((one) => one.published_as))} onChange=${onChange} />`}
            </aside>
        </div>
        ${asked && html`<${Wishes} review=${review} problem=${problem} onDraw=${draw} onClose=${() => setAsked(false)} />`}`;
}

function Top({model, version, versions, review, blind, onBlind, prompt, onPrompt, onAsk, drawing}) {
    const open = (/** @type {string} */ number) => go("model", model.id, "compare", number);
    return html`<div class="row">
        ${versions.length > 1 && html`<select aria-label=${t("compare.version")} value=${version.number} onChange=${typed(open)}>
            ${versions.map((one) => html`<option value=${one.number}>${t("models.versions", {count: one.number})}</option>`)}</select>`}
        ${review.prompts.length > 0 && html`<select class="prompt" aria-label=${t("compare.prompt")} value=${prompt}
            onChange=${typed((index) => onPrompt(Number(index)))}>
            ${review.prompts.map((text, index) => html`<option value=${index}>${text}</option>`)}</select>`}
        <span class="space"></span>
        ${review.cells.length > 0 && html`
            <button aria-pressed=${blind} class=${blind ? "chip on" : ""} onClick=${() => onBlind(!blind)}>${t("compare.blind")}</button>
            <button disabled=${drawing} onClick=${onAsk}>${t("compare.other")}</button>
            ${review.sheet && !blind && html`<a class="button" href=${address(review.sheet)} download>${t("compare.download")}</a>`}`}
    </div>`;
}

function Drawing({job, progress, act, after}) {
    const {done = 0, total = 0} = progress || {};
    const retry = () => act(async () => {
        await post(`jobs/${job.id}/retry`);
        await Promise.all([refreshJobs(), after()]);
    });
    return html`<section class="card stack" aria-label=${t("compare.drawing")}>
        <div class="row top"><b>${t("compare.drawing")}</b><${Pill} state=${job.state} /><span class="space"></span>
            ${!isOpen(job) && html`<button class="main" onClick=${retry}>${t("compare.resume")}</button>`}</div>
        ${isOpen(job) && html`<${Bar} share=${total ? done / total : 0} label=${t("compare.drawing")} />`}
        <p class=${job.state === "failed" ? "error" : "small soft"} role="status">${
            [total > 0 && isOpen(job) && t("compare.drawn", {done, total}), job.waits_for || job.status || job.reason].filter(Boolean).join(" · ")}</p>
    </section>`;
}

function Begin({onDraw, onAsk}) {
    return html`<div class="card stack"><p>${t("compare.what")}</p>
        <div class="row tight"><button class="main" onClick=${onDraw}>${t("compare.draw")}</button>
            <button onClick=${onAsk}>${t("compare.own")}</button></div></div>`;
}

function Suggested({review, onShow}) {
    const {checkpoint, strength, reason, warns} = review.suggested;
    const place = review.cells.find((one) => same(one, checkpoint, strength));
    return html`<div class=${warns ? "suggestion doubtful" : "suggestion"}><span class=${warns ? "pill warn" : "pill ok"}>${t("compare.suggested")}</span>${" "}<b>${nameOf(review, {checkpoint, strength})}</b>
        <p>${reason}</p>
        ${place && html`<button onClick=${() => onShow({checkpoint: place.checkpoint, strength: place.strength})}>${t("compare.show")}</button>`}</div>`;
}

/** @param {any} review @param {number} prompt which of its prompts @returns what is shown of the sheet */
function sheetOf(review, prompt) {
    const {cells, prompts, strengths, checkpoints} = review || NOTHING;
    const shown = Math.min(prompt, Math.max(0, prompts.length - 1));
    const of = new Map(cells.filter((one) => one.prompt === prompts[shown]).map((one) => [key(one), one]));
    return {
        prompt: shown, text: prompts[shown] || "", checkpoints, strengths: strengths.filter((one) => one !== 0),
        cell: (/** @type {Place} */ place) => of.get(key(place)), places: [...of.values()].filter((one) => one.checkpoint),
    };
}

/** @param {Place} place */
const key = ({checkpoint, strength}) => `${baseName(checkpoint)} ${strength}`;

/** @param {Place} place @param {string | null} checkpoint @param {number} strength */
const same = (place, checkpoint, strength) => key(place) === key({checkpoint, strength});

/** @param {any} review @param {Place} place @returns {string} such as "Epoch 6 at 0.8" */
function nameOf(review, {checkpoint, strength}) {
    if (!checkpoint) return t("compare.without");
    const known = review.checkpoints.find((one) => baseName(one.file) === baseName(checkpoint));
    return t("compare.at", {checkpoint: checkpointName(known || {file: checkpoint}), strength: strengthText(strength)});
}

/** @param {Place[]} chosen @param {Place} place clicked: out if it was in, else the second of two @returns {Place[]} */
function together(chosen, place) {
    const rest = chosen.filter((one) => !same(one, place.checkpoint, place.strength));
    if (rest.length < chosen.length) return rest;
    return [...chosen.slice(0, 1), {checkpoint: place.checkpoint, strength: place.strength}];
}
