// What holds for the whole server: its settings, folders, keys, and where what is made is sent.

import {useEffect, useState} from "preact/hooks";
import {get, patch, post, remove} from "../api.js";
import {html, typed} from "../html.js";
import {Field, tied} from "../parts/field.js";
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
    const set = (/** @type {string} */ key, /** @type {unknown} */ value) => work(
        async () => setFound(await patch("settings", {values: {[key]: value}})));
    return html`
        <h1>${t("settings.page")}</h1>
        <div class="two">
            <section class="card stack"><h2>${t("settings.language")}</h2>
                <select aria-label=${t("settings.language")} value=${language.value} onChange=${typed((chosen) => speak(/** @type {"en" | "zh"} */ (chosen)))}>
                    <option value="en" lang="en">English</option><option value="zh" lang="zh-CN">中文</option></select></section>
            ${found && html`
                <${Options} settings=${found.settings} set=${set} problem=${problem} />
                <${Facts} facts=${found.facts} />
                ${found.facts.keys && html`<${Keys} />`}
                <${Operator} found=${found} />`}
        </div>`;
}

// Those that have no effect as the others are now are left out.
function Options({settings, set, problem}) {
    const value = (/** @type {string} */ key) => settings.find((one) => one.key === key)?.value;
    const shown = settings.filter((one) => !one.needs || value(one.needs.key) === one.needs.value);
    const groups = [...new Set(shown.map((one) => one.group))];
    return html`
        ${groups.map((group) => html`<section class="card stack" key=${group}><h2>${group}</h2>
            ${shown.filter((one) => one.group === group).map((one) => html`<${Option} key=${one.key} option=${one}
                error=${problem && (problem.field || "").endsWith(one.key) ? problem.message : undefined}
                onChange=${(/** @type {unknown} */ changed) => set(one.key, changed)} />`)}</section>`)}
        <${Wrong} problem=${problem && !shown.some((one) => (problem.field || "").endsWith(one.key)) ? problem : null} />`;
}

function Option({option, error, onChange}) {
    const id = `option-${option.key}`;
    const change = (event) => onChange(option.type === "number" ? Number(event.target.value) : event.target.value);
    const ties = {...tied(id, error), disabled: !option.editable, value: option.value, onChange: change};
    if (option.type === "flag") {
        return html`<${Field} id=${id} label=${option.label} hint=${option.help} error=${error}>
            <input type="checkbox" ...${tied(id, error)} disabled=${!option.editable} checked=${option.value}
                onChange=${(event) => onChange(event.target.checked)} /><//>`;
    }
    return html`
        <${Field} id=${id} label=${option.label} hint=${option.help} error=${error}>
            ${option.choices
                ? html`<select ...${ties}>${option.choices.map((choice, index) => html`
                    <option value=${choice}>${option.choice_labels ? option.choice_labels[index] : choice}</option>`)}</select>`
                : html`<input ...${ties} type=${option.type === "number" ? "number" : "text"} min=${option.minimum} max=${option.maximum} />`}
        <//>`;
}

function Facts({facts}) {
    const rows = [["settings.dataDir", facts.data_dir], ["settings.loraDir", facts.lora_dir], ["settings.roots", facts.roots.join("\n") || t("settings.everywhere")]];
    return html`<section class="card stack"><h2>${t("settings.folders")}</h2>
        <dl class="facts tall">${rows.map(([word, value]) => html`<div><dt>${t(word)}</dt><dd><code>${value}</code></dd></div>`)}</dl></section>`;
}

// What only the operator sets, in a file.
function Operator({found}) {
    const file = found.service_file;
    return html`<section class="card stack"><h2>${t("operator.title")}</h2>
        <p class="small soft">${t("operator.hint")} <code>${file.path}</code></p>
        ${file.problem && html`<p class="error" role="alert">${file.problem}</p>`}
        <${Named} word="operator.webhooks" items=${found.webhooks} text=${(one) => [one.url, one.events.join(", "),
            one.last && t(`delivery.${one.last.state}`)]} />
        <${Named} word="operator.fetch" items=${found.fetch} text=${(one) => [one.hour, one.last && one.last.outcome]} />
        <${Named} word="operator.endpoints" items=${found.endpoints} text=${(one) => [one.url]} />
    </section>`;
}

function Named({word, items, text}) {
    return html`<h3>${t(word)}</h3>${items.length === 0 ? html`<p class="soft small">${t("operator.none")}</p>` : html`
        <ul class="plain">${items.map((one) => html`<li><b>${one.name}</b>
            <span class="small soft"> ${text(one).filter(Boolean).join(" · ")}</span></li>`)}</ul>`}`;
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
            setSecret((await post("keys", {name, scope})).key);
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
            onInput=${typed(setName)} />
            <select aria-label=${t("keys.scope")} value=${scope} onChange=${typed(setScope)}>
                <option value="write">${t("keys.write")}</option><option value="read">${t("keys.read")}</option></select>
            <button>${t("keys.add")}</button></form>
        ${secret && html`<p role="status">${t("keys.secret")} <code>${secret}</code></p>`}
        <${Wrong} problem=${problem} /></section>`;
}
