// Captions beside their images: read, corrected, written by a captioner.

import {useEffect, useRef, useState} from "preact/hooks";
import {address, encodePath, get, post, request} from "../api.js";
import {html, typed} from "../html.js";
import {Captioner} from "../parts/captioner.js";
import {useImages} from "../parts/image_list.js";
import {Wrong} from "../parts/message.js";
import {Verdict} from "../parts/verdict.js";
import {useWork} from "../parts/work.js";
import {attempt, isOpen, link} from "../state.js";
import {t} from "../words.js";

const SHOW = ["included", "without_caption", "all", "excluded"];
const PAGE = 40;
const WORDS = 80;
const FIELDS = ["subject", "attributes", "scene", "style"];

/** @param {{model: any, jobs: any[], refresh: () => Promise<void>}} properties */
export function Captions({model, jobs, refresh}) {
    const [search, setSearch] = useState("");
    const [show, setShow] = useState("included");
    const [words, setWords] = useState(/** @type {any} */ ({words: [], undoable: []}));
    const [problem, work] = useWork();
    const captionings = jobs.filter((job) => job.kind === "caption");
    const running = captionings.find(isOpen);
    const stamp = JSON.stringify([running ? [running.id, running.state] : "", model.counts]);
    const [found, load] = useImages(model.id, show, search, stamp);
    const loadWords = async () => {
        const used = await attempt(() => get(`models/${model.id}/captions`));
        if (used) setWords(used);
    };
    useEffect(() => {
        loadWords();
    }, [model.id, stamp]);
    const renew = async () => {
        await Promise.all([load(), loadWords(), refresh()]);
    };
    const items = found ? found.items : [];
    return html`
        <div class="cols">
            <div>
                <div class="row">
                    <input type="search" class="grow" aria-label=${t("captions.search")} placeholder=${t("captions.search")} value=${search}
                        onInput=${typed(setSearch)} />
                    <select aria-label=${t("images.show")} value=${show} onChange=${typed(setShow)}>
                        ${SHOW.map((name) => html`<option value=${name}>${t(`captions.show.${name}`)}</option>`)}</select>
                </div>
                <p class="small soft">${t("captions.keys")}</p>
                ${found === null ? html`<p class="soft">${t("loading")}</p>` : html`
                    <${Rows} key=${`${show} ${search}`} items=${items} model=${model} onSaved=${renew} />
                    ${items.length === 0 && html`<p class="soft">${t(model.counts && model.counts.images ? "captions.none" : "captions.noImages")}</p>`}`}
            </div>
            <aside class="stack">
                <${Captioner} model=${model} running=${running} last=${captionings[0]} />
                <${Change} model=${model} search=${search} work=${work} onDone=${renew} undoable=${words.undoable} />
                <${Wrong} problem=${problem} />
                ${words.words.length > 0 && html`<div class="card"><h2>${t("captions.words")}</h2><div class="tags">
                    ${words.words.slice(0, WORDS).map((one) => html`
                        <button class="tag" onClick=${() => setSearch(`tag:${one.word}`)}>${one.word} <span class="soft">${one.images}</span></button>`)}
                </div></div>`}
                <a class="button main" href=${link("model", model.id, "train")}>${t("captions.next")}</a>
            </aside>
        </div>`;
}

// More rows are drawn as the user scrolls to the end.
function Rows({items, model, onSaved}) {
    const [limit, setLimit] = useState(PAGE);
    const list = useRef(/** @type {HTMLDivElement | null} */ (null));
    // The keyboard goes from one caption to the next; what was written is saved on the way.
    const step = (/** @type {number} */ index, /** @type {number} */ by) => {
        const fields = list.current ? [...list.current.querySelectorAll("textarea")] : [];
        if (by > 0 && index + 1 === fields.length) setLimit((now) => now + PAGE);
        fields[index + by]?.focus();
        fields[index + by]?.scrollIntoView({block: "nearest"});
    };
    if (!items.length) return null;
    return html`
        <div class="card" ref=${list}>${items.slice(0, limit).map((image, index) => html`
            <${Row} key=${image.name} model=${model} image=${image} onSaved=${onSaved} onStep=${(/** @type {number} */ by) => step(index, by)} />`)}
        </div>
        ${items.length > limit && html`<${End} key=${limit} onSeen=${() => setLimit(limit + PAGE)} />`}`;
}

function Row({model, image, onSaved, onStep}) {
    const [text, setText] = useState(image.caption);
    const [problem, work] = useWork();
    useEffect(() => setText(image.caption), [image.caption]);
    const write = (/** @type {Record<string, unknown>} */ caption) => work(async () => {
        await request("PUT", `models/${model.id}/images/${encodePath(image.name)}/caption`, caption);
        await onSaved();
    });
    const save = () => (text === image.caption ? undefined : write({text}));
    const key = (/** @type {KeyboardEvent} */ event) => {
        const by = event.key === "Enter" && (event.ctrlKey || event.metaKey) ? 1
            : event.altKey && event.key === "ArrowDown" ? 1 : event.altKey && event.key === "ArrowUp" ? -1 : 0;
        if (!by) return;
        event.preventDefault();
        onStep(by);
    };
    const tags = text.split(",").map((tag) => tag.trim()).filter(Boolean);
    const without = (/** @type {number} */ index) => {
        const left = tags.filter((_, at) => at !== index).join(", ");
        setText(left);
        write({text: left});
    };
    return html`
        <div class=${image.excluded ? "caption out" : "caption"}>
            <div class="shot"><img src=${address(image.thumbnail)} alt="" loading="lazy" decoding="async" /><${Verdict} image=${image} /></div>
            <div>
                <textarea rows="2" aria-label=${t("captions.of", {name: image.name})} value=${text} onKeyDown=${key}
                    onInput=${typed(setText)} onBlur=${save}></textarea>
                ${tags.length > 1 && html`<div class="tags">${tags.map((tag, index) => html`
                    <button class="tag" title=${t("captions.removeTag")} aria-label=${`${t("captions.removeTag")}: ${tag}`}
                        onClick=${() => without(index)}>${tag} <span aria-hidden="true">×</span></button>`)}</div>`}
                <div class="small soft">${[image.name, image.by && t("captions.by", {by: image.by})].filter(Boolean).join(" · ")}</div>
                <${Fields} image=${image} write=${write} />
                <${Wrong} problem=${problem} />
            </div>
        </div>`;
}

// What the caption is made of; a change of it rewrites the caption.
function Fields({image, write}) {
    const shown = (/** @type {string} */ name) => (name === "attributes" ? image.fields.attributes.join(", ") : image.fields[name]);
    const save = (/** @type {string} */ name, /** @type {string} */ value) => {
        if (value === shown(name)) return;
        const changed = name === "attributes" ? value.split(",").map((one) => one.trim()).filter(Boolean) : value;
        write({fields: {...image.fields, [name]: changed}});
    };
    return html`
        <details class="small"><summary>${t("captions.fields")}</summary>
            <div class="quad">${FIELDS.map((name) => html`<label>${t(`captions.field.${name}`)}
                <input value=${shown(name)} onBlur=${(event) => save(name, event.target.value)} /></label>`)}</div>
        </details>`;
}

/** @param {{onSeen: () => void}} properties */
function End({onSeen}) {
    const element = useRef(/** @type {HTMLDivElement | null} */ (null));
    useEffect(() => {
        if (!element.current) return undefined;
        const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && onSeen(), {rootMargin: "800px"});
        observer.observe(element.current);
        return () => observer.disconnect();
    }, []);
    return html`<div ref=${element} class="soft">${t("loading")}</div>`;
}

function Change({model, search, work, onDone, undoable}) {
    const [find, setFind] = useState("");
    const [replacement, setReplacement] = useState("");
    const [tag, setTag] = useState("");
    const [preview, setPreview] = useState(/** @type {any} */ (null));
    const change = (/** @type {Record<string, unknown>} */ body) => work(async () => {
        const done = await post(`models/${model.id}/captions`, {...body, search});
        setPreview(body.preview ? {...done, body} : null);
        if (!body.preview) await onDone();
    });
    const undo = () => work(async () => {
        await post(`models/${model.id}/captions/undo`);
        setPreview(null);
        await onDone();
    });
    const field = (/** @type {string} */ word, /** @type {string} */ value, /** @type {(text: string) => void} */ set) => html`
        <input aria-label=${t(word)} placeholder=${t(word)} value=${value} onInput=${(event) => {
            set(event.target.value);
            setPreview(null);
        }} />`;
    const replace = {operation: "replace", find, replacement, preview: true};
    return html`
        <div class="card stack">
            <h2>${t("captions.replace")}</h2>
            ${search && html`<p class="small soft">${t("captions.onlyFound")}</p>`}
            ${field("captions.find", find, setFind)} ${field("captions.with", replacement, setReplacement)}
            <button disabled=${!find} onClick=${() => change(replace)}>${t("captions.preview")}</button>
            ${field("captions.tag", tag, setTag)}
            <div class="row tight"><button disabled=${!tag.trim()} onClick=${() => change({operation: "add_tag", tag, preview: true})}>${t("captions.add")}</button>
                <button disabled=${!tag.trim()} onClick=${() => change({operation: "remove_tag", tag, preview: true})}>${t("captions.remove")}</button></div>
            ${preview && html`
                <div class="stack" role="status">
                    ${preview.changes.slice(0, 5).map((one) => html`
                        <p class="small"><s class="soft">${one.before}</s><br />${one.after}</p>`)}
                    <button class="main" disabled=${!preview.changed} onClick=${() => change({...preview.body, preview: false})}>
                        ${t("captions.apply", {count: preview.changed})}</button>
                </div>`}
            ${undoable.length > 0 && html`<button onClick=${undo}>${t("captions.undo", {what: undoable[0]})}</button>`}
        </div>`;
}
