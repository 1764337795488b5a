// The first step of a catalogue: which products, with which look, for which channels; then drawing.

import {useEffect, useRef, useState} from "preact/hooks";
import {patch, post} from "../api.js";
import {html} from "../html.js";
import {useSettings} from "../parts/catalogue_settings.js";
import {Channels} from "../parts/channels.js";
import {Columns} from "../parts/columns.js";
import {DrawCard} from "../parts/draw_card.js";
import {ListSource} from "../parts/list_source.js";
import {Wrong} from "../parts/message.js";
import {RowProblems} from "../parts/row_problems.js";
import {Rules} from "../parts/rules.js";
import {useWork} from "../parts/work.js";
import {PromptWords} from "../parts/prompt_words.js";
import {attempt} from "../state.js";
import {t} from "../words.js";

// What prompts are made of: a change of it is tried on the list.
const OF_PROMPTS = ["rules", "templates", "glossary", "language", "channels", "negative_prompt", "keep_product"];

/** @param {{catalogue: any, path: string, refresh: () => Promise<unknown>, onChange: (catalogue: any) => void}} properties */
export function Products({catalogue: kept, path, refresh, onChange}) {
    const [again, setAgain] = useState(false);
    const [problem, work] = useWork();
    const {products, problems} = kept;
    const there = products > 0 || problems > 0;
    const {checked, check} = useCheck(path, kept.settings);
    const {settings, set, settled, problem: refused} = useSettings(kept, path, {
        onChange, refresh, onKept: (values) => OF_PROMPTS.some((key) => key in values) && check(),
    });
    const catalogue = {...kept, settings};
    const stamp = JSON.stringify([kept.settings.source, kept.settings.columns, products, problems]);
    useEffect(() => {
        if (there) check();
    }, [stamp]);
    const read = (/** @type {Record<string, unknown>} */ values) => work(async () => {
        // Tried first: a list that cannot be read must not take the place of one that can.
        await post(`${path}/check`, values);
        await patch(path, values);
        await post(`${path}/read`);
        await refresh();
        setAgain(false);
    });
    const words = async () => {
        await refresh();
        await check();
    };
    if (!there) return html`<${ListSource} path=${path} source=${settings.source} read=${read} problem=${problem} onDone=${refresh} empty />`;
    const name = settings.source.split(/[\\/]/).pop();
    return html`<div class="cols following">
        <div class="stack">
            <section class="card stack" aria-label=${t("products.list")}>
                <div class="row top"><h2>${t("products.list")}</h2><span class="soft">${[name, t("catalogues.products", {count: products})].filter(Boolean).join(" · ")}</span><span class="space"></span>
                    ${settings.source && html`<button onClick=${() => read({columns: settings.columns})}>${t("products.again")}</button>`}
                    <button aria-expanded=${again} onClick=${() => setAgain(!again)}>${t("products.other")}</button></div>
                ${again && html`<${ListSource} path=${path} source=${settings.source} read=${read} problem=${null} onDone=${words} />`}
                <${Wrong} problem=${problem} />
                ${checked && html`<${Columns} checked=${checked} path=${path} stamp=${stamp} onMap=${(/** @type {Record<string, string>} */ columns) => read({columns})} />
                    <${RowProblems} items=${checked.problems} />`}
            </section>
            <${Rules} catalogue=${catalogue} path=${path} checked=${checked} onSave=${(/** @type {any[]} */ rules) => set({rules: {rules}})} />
            <${PromptWords} catalogue=${catalogue} path=${path} checked=${checked} onSet=${set} onSent=${words} />
            <${Channels} settings=${settings} onChange=${set} />
        </div>
        <aside class="stack"><${DrawCard} catalogue=${catalogue} path=${path} refused=${refused} onSet=${set} settled=${settled} refresh=${refresh} /></aside>
    </div>`;
}

/**
 * The list tried with its rules.
 * @param {string} path @param {any} settings as the server has them
 * @returns {{checked: any, check: () => Promise<unknown>}} `check`: try it again
 */
function useCheck(path, settings) {
    const [checked, setChecked] = useState(/** @type {any} */ (null));
    const newest = useRef(0);
    const known = useRef(settings);
    known.current = settings;
    const check = () => attempt(async () => {
        const turn = ++newest.current;
        const {source, columns} = known.current;
        // The whole list, with all its columns, where there is one to be read again.
        const found = await post(`${path}/check`, source ? {columns} : {});
        // What was asked before may be answered later.
        if (turn === newest.current) setChecked(found);
    });
    return {checked, check};
}
