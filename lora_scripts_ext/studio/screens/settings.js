// What holds for the whole server: its settings, folders, keys, and where what is made is sent.

import {useEffect, useState} from "preact/hooks";
import {get, patch, post, remove} from "../api.js";
import {html} from "../html.js";
import {Wrong} from "../parts/message.js";
import {useWork} from "../parts/work.js";
import {attempt} from "../state.js";
import {language, speak, t} from "../words.js";

export function Settings() {
    const [found, setFound] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(() => get("settings")).then((answer) => answer && setFound(answer));
    }, []);
    const set = (/** @type {string} */ key, /** @type {unknown} */ value) => work(async () => setFound(await patch("settings", {[key]: value})));
    return html`
        <h1>${t("settings.page")}</h1>
        <div class="two">
            <section class="card stack"><h2>${t("settings.language")}</h2>
                <select aria-label=${t("settings.language")} value=${language.value} onChange=${(/** @type {any} */ event) => speak(event.target.value)}>
                    <option value="en" lang="en">English</option><option value="zh" lang="zh-CN">中文</option></select></section>
            ${found && found.items.length > 0 && html`<section class="card stack"><h2>${t("settings.running")}</h2>
                ${found.items.map((/** @type {any} */ one) => html`<${Option} key=${one.key} option=${one} onChange=${(/** @type {unknown} */ value) => set(one.key, value)} />`)}
                <${Wrong} problem=${problem} /></section>`}
            ${found && html`<${Facts} found=${found} />`}
            ${found && found.keys && html`<${Keys} />`}
            ${found && html`<${Webhooks} webhooks=${found.webhooks} where=${found.service_file} />`}
        </div>`;
}

/** @param {any} properties */
function Option({option, onChange}) {
    const id = `option-${option.key}`;
    const change = (/** @type {any} */ event) => onChange(
        option.type === "boolean" ? event.target.checked : option.type === "number" ? Number(event.target.value) : event.target.value);
    const ties = {id, disabled: !option.editable, "aria-describedby": `${id}-hint`};
    return html`
        <div class="field"><label for=${id}>${option.label}</label>
            ${option.choices ? html`<select ...${ties} value=${option.value} onChange=${change}>
                ${option.choices.map((/** @type {string} */ choice) => html`<option value=${choice}>${choice}</option>`)}</select>`
                : option.type === "boolean" ? html`<input type="checkbox" ...${ties} checked=${option.value} onChange=${change} />`
                    : html`<input ...${ties} type=${option.type === "number" ? "number" : "text"} value=${option.value} onChange=${change} />`}
            <span class="hint" id=${`${id}-hint`}>${option.help}</span></div>`;
}

/** @param {any} properties */
function Facts({found}) {
    return html`<section class="card stack"><h2>${t("settings.folders")}</h2>
        <dl class="facts tall">${found.facts.map((/** @type {any} */ one) => html`<div><dt>${one.label}</dt><dd><code>${one.value}</code></dd></div>`)}</dl></section>`;
}

function Keys() {
    const [keys, setKeys] = useState(/** @type {any[]} */ ([]));
    const [name, setName] = useState("");
    const [scope, setScope] = useState("write");
    const [secret, setSecret] = useState("");
    const [problem, work] = useWork();
    const load = async () => setKeys((await get("keys")).items);
    useEffect(() => {
        work(load);
    }, []);
    const add = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            setSecret((await post("keys", {name, scope})).secret);
            setName("");
            await load();
        });
    };
    const revoke = (/** @type {string} */ id) => work(async () => {
        await remove(`keys/${id}`);
        await load();
    });
    const shown = keys.filter((one) => !one.revoked);
    return html`<section class="card stack"><h2>${t("keys.title")}</h2><p class="small soft">${t("keys.hint")}</p>
        ${shown.length > 0 && html`<ul class="plain">${shown.map((one) => html`<li class="row tight"><b>${one.name}</b>
            <span class="pill grey">${t(`keys.${one.scope}`)}</span><span class="space"></span>
            <button aria-label=${`${t("keys.revoke")}: ${one.name}`} onClick=${() => revoke(one.id)}>${t("keys.revoke")}</button></li>`)}</ul>`}
        <form class="row tight" onSubmit=${add}><input class="grow" aria-label=${t("keys.name")} placeholder=${t("keys.name")} value=${name} required
            onInput=${(/** @type {any} */ event) => setName(event.target.value)} />
            <select aria-label=${t("keys.scope")} value=${scope} onChange=${(/** @type {any} */ event) => setScope(event.target.value)}>
                <option value="write">${t("keys.write")}</option><option value="read">${t("keys.read")}</option></select>
            <button>${t("keys.add")}</button></form>
        ${secret && html`<p role="status">${t("keys.secret")} <code>${secret}</code></p>`}
        <${Wrong} problem=${problem} /></section>`;
}

/** @param {any} properties */
function Webhooks({webhooks, where}) {
    return html`<section class="card stack"><h2>${t("webhooks.title")}</h2>
        <p class="small soft">${t("webhooks.hint")} <code>${where}</code></p>
        ${webhooks.length === 0 ? html`<p class="soft">${t("webhooks.none")}</p>` : html`<ul class="plain">${webhooks.map((/** @type {any} */ one) => html`
            <li><b>${one.name}</b> <code>${one.url}</code> <span class="small soft">${one.events.join(", ")}</span></li>`)}</ul>`}</section>`;
}
