// The first step of a catalogue: which products, with which look, for which channels; then drawing.

import {useEffect, useRef, useState} from "preact/hooks";
import {get, patch, post, Problem, request} from "../api.js";
import {html} from "../html.js";
import {Channels} from "../parts/channels.js";
import {Columns} from "../parts/columns.js";
import {DrawCard} from "../parts/draw_card.js";
import {Drop} from "../parts/drop.js";
import {FolderField} from "../parts/folders.js";
import {Wrong} from "../parts/message.js";
import {Rules} from "../parts/rules.js";
import {useWork} from "../parts/work.js";
import {attempt} from "../state.js";
import {t} from "../words.js";

const KINDS = ".csv,.tsv,.txt,.xlsx,.json,.jsonl";
const SHOWN = 8;

/** @param {{catalogue: any, path: string, refresh: () => Promise<unknown>, onChange: (catalogue: any) => void}} properties */
export function Products({catalogue, path, refresh, onChange}) {
    const [again, setAgain] = useState(false);
    const [checked, setChecked] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const {settings, products, problems} = catalogue;
    const there = products > 0 || problems > 0;
    // The whole list, with all its columns, where there is one to be read again.
    const check = () => attempt(async () => setChecked(await post(`${path}/check`, settings.source ? {columns: settings.columns} : {})));
    const stamp = JSON.stringify([settings.source, settings.columns, settings.rules, products, problems]);
    useEffect(() => {
        if (there) check();
    }, [stamp]);
    // One change after the other, so that what is shown is the answer to the last one.
    const last = useRef(/** @type {Promise<unknown>} */ (Promise.resolve()));
    const set = (/** @type {Record<string, unknown>} */ values) => {
        // Shown before the server has it; what it refuses is taken back.
        if (!("rules" in values)) onChange({...catalogue, settings: {...settings, ...values}});
        const done = last.current.then(async () => {
            const kept = await work(async () => {
                onChange(await patch(path, values));
                if ("rules" in values) await check();
            });
            if (!kept) await refresh();
        });
        last.current = done;
        return done;
    };
    const read = (/** @type {Record<string, unknown>} */ values) => work(async () => {
        // Tried first: a list that cannot be read must not take the place of one that can.
        await post(`${path}/check`, values);
        await patch(path, values);
        await post(`${path}/read`);
        await refresh();
        setAgain(false);
    });
    if (!there) return html`<${Source} path=${path} read=${read} problem=${problem} onDone=${refresh} empty />`;
    return html`<div class="cols following">
        <div class="stack">
            <section class="card stack" aria-label=${t("products.list")}>
                <div class="row top"><h2>${t("products.list")}</h2><span class="soft">${[settings.source.split(/[\\/]/).pop(), t("catalogues.products", {count: products})].filter(Boolean).join(" · ")}</span><span class="space"></span>
                    ${settings.source && html`<button onClick=${() => read({columns: settings.columns})}>${t("products.again")}</button>`}
                    <button aria-expanded=${again} onClick=${() => setAgain(!again)}>${t("products.other")}</button></div>
                ${again && html`<${Source} path=${path} read=${read} problem=${null} onDone=${async () => {
                    await refresh();
                    await check();
                }} />`}
                <${Wrong} problem=${problem} />
                ${checked && html`<${Columns} checked=${checked} path=${path} stamp=${stamp} onMap=${(/** @type {Record<string, string>} */ columns) => read({columns})} />
                    <${RowProblems} items=${checked.problems} />`}
            </section>
            <${Rules} catalogue=${catalogue} path=${path} checked=${checked} onSave=${(/** @type {any[]} */ rules) => set({rules: {rules}})} />
            <${Channels} settings=${settings} onChange=${set} />
        </div>
        <aside class="stack"><${DrawCard} catalogue=${catalogue} path=${path} onSet=${set} settled=${() => last.current} refresh=${refresh} /></aside>
    </div>`;
}

function Source({path, read, problem, onDone, empty}) {
    const [place, setPlace] = useState("");
    const take = (/** @type {Event} */ event) => {
        event.preventDefault();
        return read({source: place.trim(), columns: {}});
    };
    return html`<${Drop} send=${(/** @type {File} */ file) => sendList(path, file)} title=${t("products.drop")} hint=${t("products.dropHint")} single accept=${KINDS}
            empty=${Boolean(empty)} onDone=${onDone} />
        <form class=${empty ? "card" : ""} onSubmit=${take}>
            <${FolderField} value=${place} onChange=${setPlace} label=${t("products.place")} hint=${t("products.placeHint")} />
            <${Wrong} problem=${problem} />
            <div class="row end"><button class=${place.trim() ? "main" : ""} disabled=${!place.trim()}>${t("products.read")}</button></div></form>`;
}

/** @param {string} path of the catalogue @param {File} file */
async function sendList(path, file) {
    const put = () => request("PUT", `${path}/list/${encodeURIComponent(file.name)}`, file);
    try {
        await put();
    } catch (error) {
        if (!(error instanceof Problem) || error.field !== "columns") throw error;
        // What was said of the columns of another list does not hold for this one.
        await patch(path, {columns: {}});
        await put();
    }
    return {skipped: []};
}

function RowProblems({items}) {
    const [all, setAll] = useState(false);
    if (!items.length) return null;
    return html`<section class="notice" aria-label=${t("products.problems")}><b>${t("products.wrong", {count: items.length})}</b>
        <ul class="plain small">${(all ? items : items.slice(0, SHOWN)).map((one) => html`<li>${one.row > 0 && `${t("products.row", {row: one.row})} `}${one.sentence}</li>`)}</ul>
        ${items.length > SHOWN && !all && html`<button onClick=${() => setAll(true)}>${t("products.all", {count: items.length})}</button>`}
        <p class="small">${t("products.others")}</p></section>`;
}
