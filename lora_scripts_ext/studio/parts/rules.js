// Which products are drawn with which look, tried on the list at every change.

import {useEffect, useRef, useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";
import {asLora, LoraFields} from "./lora_fields.js";

const BETWEEN = ";";
const NAMED = 12;
/** What stands in a prompt for something else. @type {Record<string, string>} */
const PLACES = {subject: "{subject}", attributes: "{attributes}", scene: "{scene}", style: "{style}", trigger: "{trigger}"};
const FIELDS = ["category", "tags", "title", "sku", "description"];

/** @typedef {{name?: string, when?: Record<string, string | string[]>, loras?: any[], prompt?: string, negative?: string, control?: string}} Rule */

/** @param {{catalogue: any, path: string, checked: any, onSave: (rules: Rule[]) => unknown}} properties */
export function Rules({catalogue, path, checked, onSave}) {
    const [rules, setRules] = useState(/** @type {Rule[] | null} */ (null));
    // Two fields may be left before the screen is drawn again; what is written here counts before what the server has.
    const newest = useRef(/** @type {Rule[] | null} */ (null));
    useEffect(() => {
        attempt(async () => {
            const found = (await get(`${path}/rules`)).rules;
            if (!newest.current) setRules(found);
        });
    }, []);
    if (!rules) return html`<p class="soft">${t("loading")}</p>`;
    const now = () => newest.current || rules;
    const save = (/** @type {Rule[]} */ changed) => {
        newest.current = changed;
        setRules(changed);
        return onSave(changed);
    };
    const put = (/** @type {number} */ index, /** @type {Partial<Rule>} */ change) => save(now().map((one, place) => (place === index ? {...one, ...change} : one)));
    const up = (/** @type {number} */ index) => save([...now().slice(0, index - 1), now()[index], now()[index - 1], ...now().slice(index + 1)]);
    const add = (/** @type {Rule} */ rule) => save([...now(), rule]);
    // Before the one for all others, which would leave nothing to it.
    const addForSome = () => save([...now().filter((one) => conditions(one).length), {when: {category: catalogue.categories[0] || ""}, loras: []},
        ...now().filter((one) => !conditions(one).length)]);
    const open = rules.some((one) => !conditions(one).length);
    return html`<section class="card stack" aria-label=${t("rules.title")}>
        <div><h2>${t("rules.title")}</h2><p class="small soft">${t("rules.what")}</p></div>
        ${rules.map((rule, index) => html`<${RuleRow} key=${index} rule=${rule} index=${index} catalogue=${catalogue} checked=${checked}
            onPut=${(/** @type {Partial<Rule>} */ change) => put(index, change)} onUp=${index > 0 && conditions(rule).length > 0 ? () => up(index) : undefined}
            onRemove=${() => save(now().filter((_, place) => place !== index))} />`)}
        <datalist id="categories-known">${catalogue.categories.map((one) => html`<option value=${one}></option>`)}</datalist>
        ${checked && checked.warnings.map((text) => html`<p class="small warning">${text}</p>`)}
        ${checked && checked.unmatched_count > 0 && html`<div class="notice"><b>${t("rules.unmatched", {count: checked.unmatched_count})}</b>
            <p class="small">${checked.unmatched.slice(0, NAMED).join(", ")}${checked.unmatched_count > NAMED ? "…" : ""}</p>
            <p class="small">${t("rules.asks")}</p>
            <div class="row tight">${!open && html`<button class="main" onClick=${() => add({loras: []})}>${t(rules.length ? "rules.rest" : "rules.everything")}</button>`}
                <button onClick=${addForSome}>${t("rules.add")}</button></div></div>`}
        ${checked && checked.unmatched_count === 0 && html`<div class="row tight"><span class="small soft">${t("rules.complete")}</span><span class="space"></span>
            <button onClick=${addForSome}>${t("rules.add")}</button></div>`}
    </section>`;
}

/** @param {Rule} rule @returns {[string, string][]} column and values, as they are written in a field */
const conditions = (rule) => Object.entries(rule.when || {}).map(([name, value]) => [name, [value].flat().join(`${BETWEEN} `)]);

function RuleRow({rule, index, catalogue, checked, onPut, onUp, onRemove}) {
    const name = rule.name || `rule ${index + 1}`;
    const count = checked ? checked.rules[name] : undefined;
    const example = checked && checked.examples.find((one) => one.rule === name);
    const when = conditions(rule);
    const [further, setFurther] = useState(false);
    const [writing, setWriting] = useState(false);
    const worded = writing || Boolean(rule.prompt);
    const named = rule.loras || [];
    const loras = further || !named.length ? [...named, {name: "", weight: 1}] : named;
    const label = t("rules.number", {number: index + 1});
    const condition = (/** @type {number} */ place, /** @type {string} */ column, /** @type {string} */ values) => onPut({
        when: Object.fromEntries(when.map((one, at) => (at === place ? [column, values] : one)).filter(([one]) => one)
            .map(([one, text]) => [one, text.split(BETWEEN).map((part) => part.trim()).filter(Boolean)])),
    });
    const lora = (/** @type {number} */ place, /** @type {any} */ changed) => {
        setFurther(false);
        return onPut({loras: [...loras.slice(0, place), changed, ...loras.slice(place + 1)].filter((one) => one.name || one.file)});
    };
    return html`<fieldset class="rule"><legend class="row tight"><span>${when.length ? label : t("rules.restName")}</span>
            ${count !== undefined && html`<span class=${count ? "pill ok" : "pill warn"}>${t("catalogues.products", {count})}</span>`}</legend>
        ${when.map(([column, values], place) => html`<div class="row tight" key=${place}><span>${t(place ? "rules.and" : "rules.when")}</span>
            <${ColumnChoice} value=${column} headers=${checked ? checked.headers : []} columns=${catalogue.columns} label=${`${t("rules.column")}, ${label}`}
                onChange=${(/** @type {string} */ other) => condition(place, other, values)} />
            <span>${t("rules.is")}</span>
            <${DraftField} class="grow" aria-label=${`${t("rules.values")}, ${label}`} list=${column === "category" ? "categories-known" : undefined} value=${values}
                onCommit=${(/** @type {string} */ text) => condition(place, column, text)} /></div>`)}
        ${loras.map((one, place) => html`<div class="row tight" key=${`l${place}`}><span>${t(place ? "rules.and" : "rules.with")}</span>
            <${LoraFields} lora=${{name: one.name || one.file || "", weight: Number(one.weight ?? 1)}} id=${`rule-${index}-${place}`} commit
                onChange=${(/** @type {{name: string, weight: number}} */ changed) => lora(place, asLora(changed))} /></div>`)}
        ${worded && html`<div><div class="row tight"><span>${t("rules.prompt")}</span>
            <${DraftField} class="grow" aria-label=${`${t("rules.prompt")}, ${label}`} value=${rule.prompt || ""} maxlength="2000" placeholder="{trigger}, {subject}, {attributes}, {scene}, {style}"
                onCommit=${(/** @type {string} */ text) => onPut({prompt: text.trim()})} /></div><p class="small soft">${t("rules.promptHint", PLACES)}</p></div>`}
        ${example && html`<p class="small soft">${t("rules.example", {sku: example.sku})} ${example.prompt}</p>`}
        <div class="row tight">
            ${when.length > 0 && html`<button class="quiet small" onClick=${() => onPut({when: {...rule.when, [FIELDS.find((one) => !(one in (rule.when || {}))) || "sku"]: ""}})}>${t("rules.condition")}</button>`}
            ${named.length > 0 && !further && html`<button class="quiet small" onClick=${() => setFurther(true)}>${t("rules.lora")}</button>`}
            ${!worded && html`<button class="quiet small" onClick=${() => setWriting(true)}>${t("rules.ownPrompt")}</button>`}
            <span class="space"></span>
            ${onUp && html`<button class="quiet small" aria-label=${`${t("rules.up")}: ${label}`} onClick=${onUp}>↑</button>`}
            <button class="quiet small" aria-label=${`${t("rules.remove")}: ${label}`} onClick=${onRemove}>✕</button></div>
    </fieldset>`;
}

function ColumnChoice({value, headers, columns, label, onChange}) {
    const fields = FIELDS.filter((field) => columns[field] || field === value);
    const others = headers.filter((header) => !Object.values(columns).includes(header));
    const known = [...fields, ...others].includes(value);
    return html`<select aria-label=${label} value=${value} onChange=${typed(onChange)}>
        ${!known && html`<option value=${value}>${value}</option>`}
        ${fields.map((field) => html`<option value=${field}>${t(`column.${field}`)}</option>`)}
        ${others.map((header) => html`<option value=${header}>${header}</option>`)}</select>`;
}
