// A folder of the server, typed or chosen among those that may be read.

import {useEffect, useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {Dialog} from "./dialog.js";
import {Field, tied} from "./field.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

/** @param {{value: string, onChange: (path: string) => void, error?: string, hint?: string, label?: string}} properties */
export function FolderField({value, onChange, error, hint = t("new.folderHint"), label = t("new.folder")}) {
    const [open, setOpen] = useState(false);
    return html`
        <${Field} id="folder" label=${label} hint=${hint} error=${error}>
            <div class="together">
                <input ...${tied("folder", error)} value=${value} autocomplete="off" spellcheck="false"
                    onInput=${typed(onChange)} />
                <button type="button" onClick=${() => setOpen(true)}>${t("folders.browse")}</button>
            </div>
        <//>
        ${open && html`<${Folders} start=${value} onChoose=${(/** @type {string} */ path) => {
            onChange(path);
            setOpen(false);
        }} onClose=${() => setOpen(false)} />`}`;
}

/** @param {{start: string, onChoose: (path: string) => void, onClose: () => void}} properties */
function Folders({start, onChoose, onClose}) {
    const [here, setHere] = useState(/** @type {any} */ (null));
    const [problem, work] = useWork();
    const enter = (/** @type {string} */ path) => work(async () => setHere(await get(`folders?${new URLSearchParams({path})}`)));
    useEffect(() => {
        // Where the field's path is none, the list begins at the top.
        enter(start).then((ok) => ok || enter(""));
    }, []);
    const folders = here ? here.folders : [];
    return html`
        <${Dialog} title=${t("folders.title")} onClose=${onClose}>
            ${here === null ? html`<p class="soft">${t("loading")}</p>` : html`
                <p class="path"><code>${here.path || t("folders.roots")}</code></p>
                <ul class="folders">
                    ${here.path && html`<li><button type="button" class="quiet" onClick=${() => enter(here.parent || "")}>↑ ${t("folders.up")}</button></li>`}
                    ${folders.map((folder) => html`<li key=${folder.path}>
                        <button type="button" class="quiet" onClick=${() => enter(folder.path)}><span aria-hidden="true">▸</span> ${here.path ? folder.name : folder.path}
                            ${folder.images > 0 && html`<span class="pill grey">${t("models.images", {count: folder.images})}</span>`}</button></li>`)}
                    ${folders.length === 0 && html`<li class="soft">${t("folders.empty")}</li>`}
                    ${here.more && html`<li class="soft">${t("folders.more")}</li>`}
                </ul>`}
            <${Wrong} problem=${problem} />
            <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
                <button type="button" class="main" disabled=${!here || !here.path} onClick=${() => onChoose(here.path)}>
                    ${t("folders.choose", {count: here ? here.images : 0})}</button></div>
        <//>`;
}
