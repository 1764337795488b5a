// Every setting of a training, from the API's schema: searchable, what was changed marked, each with a way back.

import {useEffect, useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt, system} from "../state.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";
import {Field, tied} from "./field.js";
import {Yaml} from "./yaml.js";

/**
 * @param {{model: any, onChange: (values: Record<string, unknown>) => unknown}} properties
 *     `onChange` takes what is to differ from the preset; undefined: no longer
 */
export function Settings({model, onChange}) {
    const {config, kind} = model;
    const images = model.counts ? model.counts.included : 0;
    const [schema, setSchema] = useState(/** @type {any} */ (null));
    const [preset, setPreset] = useState(/** @type {any} */ (null));
    const [search, setSearch] = useState("");
    const [onlyChanged, setOnlyChanged] = useState(false);
    const [yaml, setYaml] = useState(false);
    useEffect(() => {
        attempt(() => get("config/schema")).then((found) => found && setSchema(found));
    }, []);
    useEffect(() => {
        attempt(() => get(`presets/${kind}?images=${images}`)).then((found) => found && setPreset(found.config));
    }, [kind, images]);
    if (!schema || !preset) return html`<div class="card soft">${t("loading")}</div>`;
    const changed = Object.keys(config);
    const places = system.value && system.value.host === "webui" ? ["folded"] : ["folded", "standalone"];
    const shown = schema.keys.filter((key) => places.includes(key.shown) && matches(key, search)
        && (!onlyChanged || changed.includes(key.key)));
    const groups = schema.groups.filter((group) => shown.some((key) => key.group === group));
    const usual = (key) => preset[key.key] ?? key.default;
    const set = (key, /** @type {unknown} */ value) => {
        const same = value === undefined || JSON.stringify(value) === JSON.stringify(usual(key));
        return onChange({[key.key]: same ? undefined : value});
    };
    const reset = () => onChange(Object.fromEntries(changed.map((key) => [key, undefined])));
    return html`
        <details class="card drawer" open=${search !== "" || onlyChanged || undefined}>
            <summary><b>${t("settings.title")}</b> <span class="soft">${t("settings.preset", {kind: t(`kind.${kind}`), count: images})}</span>
                ${changed.length > 0 && html` <span class="pill">${t("settings.changed", {count: changed.length})}</span>`}</summary>
            <div class="row"><input type="search" class="grow" aria-label=${t("settings.search")} placeholder=${t("settings.search")} value=${search}
                onInput=${typed(setSearch)} />
                ${changed.length > 0 && html`
                    <label class="check"><input type="checkbox" checked=${onlyChanged} onChange=${() => setOnlyChanged(!onlyChanged)} /> ${t("settings.onlyChanged")}</label>
                    <button onClick=${reset}>${t("settings.reset")}</button>`}
                <button onClick=${() => setYaml(true)}>YAML</button></div>
            ${groups.map((group) => html`<h2>${group}</h2><div class="settings">
                ${shown.filter((key) => key.group === group).map((key) => html`
                    <${Setting} key=${key.key} schema=${key} value=${key.key in config ? config[key.key] : usual(key)}
                        changed=${key.key in config} onChange=${(/** @type {unknown} */ value) => set(key, value)} />`)}
            </div>`)}
            ${groups.length === 0 && html`<p class="soft">${t("settings.none")}</p>`}
        </details>
        ${yaml && html`<${Yaml} model=${model} onClose=${() => setYaml(false)} />`}`;
}

/** @param {any} key @param {string} search */
function matches(key, search) {
    const text = `${key.key} ${key.label} ${key.help}`.toLowerCase();
    return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function Setting({schema, value, changed, onChange}) {
    const [error, setError] = useState("");
    const id = `setting-${schema.key}`;
    const take = (/** @type {string} */ text) => {
        const [parsed, wrong] = read(schema, text);
        setError(wrong);
        if (!wrong) onChange(parsed);
    };
    return html`
        <div class=${changed ? "changed" : ""}>
            <${Field} id=${id} label=${schema.label} hint=${schema.help} error=${error || undefined}>
                <${Control} id=${id} schema=${schema} value=${value} error=${error} take=${take} onChange=${onChange} />
            <//>
            ${changed && html`<button class="quiet small" onClick=${() => onChange(undefined)}>${t("settings.back")}</button>`}
        </div>`;
}

function Control({id, schema, value, error, take, onChange}) {
    const ties = tied(id, error || undefined);
    if (schema.type === "boolean" && !schema.nullable) {
        return html`<input type="checkbox" ...${ties} checked=${value} onChange=${(event) => onChange(event.target.checked)} />`;
    }
    if (schema.choices) {
        return html`<select ...${ties} value=${value} onChange=${typed(onChange)}>
            ${schema.choices.map((choice, index) => html`
                <option value=${choice}>${schema.choice_labels[index]}</option>`)}</select>`;
    }
    const lines = schema.key === "preview_prompts" ? {as: "textarea", rows: 3} : {};
    return html`<${DraftField} ...${lines} ...${ties} value=${write(schema, value)} onCommit=${take}
        inputmode=${["integer", "number"].includes(schema.type) ? "decimal" : undefined} />`;
}

/** @param {any} schema @param {any} value @returns {string} a value as its field shows it */
function write(schema, value) {
    if (value === null || value === undefined) return "";
    if (schema.type === "array") return value.join(schema.items === "string" ? "\n" : ", ");
    return schema.type === "object" ? (Object.keys(value).length ? JSON.stringify(value) : "") : String(value);
}

/**
 * @param {any} schema
 * @param {string} text
 * @returns {[unknown, string]} the value, undefined for an empty field; and what is wrong with it
 */
function read(schema, text) {
    const trimmed = text.trim();
    if (!trimmed) return [undefined, ""];
    // As file managers copy a path.
    if (schema.path) return [trimmed.replace(/^(["'])(.*)\1$/, "$2").trim(), ""];
    if (schema.type === "array") {
        const items = trimmed.split(schema.items === "string" ? /\n+/ : /[\s,x×]+/).filter(Boolean);
        if (schema.items === "string") return [items, ""];
        return items.every((one) => Number.isFinite(Number(one))) ? [items.map(Number), ""] : [null, t("settings.number")];
    }
    if (schema.type === "object") {
        try {
            return [JSON.parse(trimmed), ""];
        } catch {
            return [null, t("settings.json")];
        }
    }
    if (schema.type === "boolean") return [trimmed === "true", trimmed === "true" || trimmed === "false" ? "" : t("settings.truth")];
    if (schema.type !== "integer" && schema.type !== "number") return [trimmed, ""];
    return number(schema, Number(trimmed));
}

/** @param {any} schema @param {number} value @returns {[unknown, string]} */
function number(schema, value) {
    if (!Number.isFinite(value) || (schema.type === "integer" && !Number.isInteger(value))) return [null, t("settings.number")];
    const {minimum, maximum, above} = schema;
    const low = (minimum !== null && value < minimum) || (above !== null && value <= above);
    if (low || (maximum !== null && value > maximum)) {
        return [null, t("settings.range", {low: minimum ?? above, high: maximum ?? "∞"})];
    }
    return [value, ""];
}
