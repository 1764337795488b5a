// Where files are dropped or chosen, and how far each has been sent.

import {useRef, useState} from "preact/hooks";
import {Problem} from "../api.js";
import {html} from "../html.js";
import {dropped} from "../uploads.js";
import {t} from "../words.js";
import {Bar} from "./pill.js";

const SHOWN = 4;

/** @typedef {(file: File, progress: (share: number) => void) => Promise<{skipped: {name: string, reason: string}[]}>} Send */

/**
 * @param {{send: Send, title: string, hint: string, empty: boolean, accept?: string, order?: (files: File[]) => File[],
 *     onSome?: () => unknown,
 *     onDone: () => Promise<unknown>}} properties `order`: in which files are sent; `onSome`: called while there are more
 */
export function Drop({send, title, hint, empty, accept, order = (files) => files, onSome, onDone}) {
    const [waiting, setWaiting] = useState(/** @type {File[]} */ ([]));
    const [share, setShare] = useState(0);
    const [total, setTotal] = useState(0);
    const [failed, setFailed] = useState(/** @type {{name: string, reason: string, file?: File}[]} */ ([]));
    const [over, setOver] = useState(false);
    const input = useRef(/** @type {HTMLInputElement | null} */ (null));
    const folder = useRef(/** @type {HTMLInputElement | null} */ (null));
    const take = async (/** @type {File[]} */ chosenFiles) => {
        const files = order(chosenFiles);
        setFailed([]);
        setTotal(files.length);
        for (const [index, file] of files.entries()) {
            setWaiting(files.slice(index));
            setShare(0);
            const wrong = await sent(send, file, setShare);
            if (wrong.length) setFailed((before) => [...before, ...wrong]);
            // What is there shows up while the rest is sent.
            if (index % 20 === 19) onSome?.();
        }
        setWaiting([]);
        await onDone();
    };
    const drop = async (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer) await take(await dropped(event.dataTransfer));
    };
    const enter = (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        setOver(true);
    };
    const chosen = (event) => {
        const files = [...event.target.files];
        event.target.value = "";
        return take(files);
    };
    const again = failed.flatMap((one) => (one.file ? [one.file] : []));
    return html`
        <div class=${["drop", over && "over", empty && "large"].filter(Boolean).join(" ")}
            onDragOver=${enter} onDragLeave=${() => setOver(false)} onDrop=${drop}>
            <b>${title}</b>
            <div class="row tight">
                <button class=${empty ? "main" : ""} onClick=${() => input.current?.click()}>${t("images.choose")}</button>
                <button onClick=${() => folder.current?.click()}>${t("images.chooseFolder")}</button>
            </div>
            <input ref=${input} type="file" multiple accept=${accept} hidden aria-label=${t("images.choose")} onChange=${chosen} />
            <input ref=${folder} type="file" webkitdirectory hidden aria-label=${t("images.chooseFolder")} onChange=${chosen} />
            <span class="small">${hint}</span>
            ${waiting.length > 0 && html`<div class="sending" role="status">
                <b>${t("images.sending", {done: total - waiting.length, total})}</b>
                ${waiting.slice(0, SHOWN).map((file, index) => html`
                    <span class="small">${file.name}</span><${Bar} share=${index ? 0 : share} label=${file.name} />`)}
                ${waiting.length > SHOWN && html`<span class="small">${t("images.waiting", {count: waiting.length - SHOWN})}</span>`}
            </div>`}
            ${failed.length > 0 && html`<div class="failed" role="alert"><b class="error">${t("images.notTaken", {count: failed.length})}</b>
                <ul class="plain small">${failed.map((one) => html`<li>${one.name}: ${one.reason}</li>`)}</ul>
                ${again.length > 0 && html`<button onClick=${() => take(again)}>${t("retry")}</button>`}</div>`}
        </div>`;
}

/**
 * Send one file; one that fails does not stop the others.
 * @param {Send} send
 * @param {File} file
 * @param {(share: number) => void} progress
 * @returns {Promise<{name: string, reason: string, file?: File}[]>} what could not be taken, and why
 */
async function sent(send, file, progress) {
    try {
        return (await send(file, progress)).skipped;
    } catch (error) {
        if (!(error instanceof Problem)) throw error;
        const reason = error.code === "offline" ? t("offline.action") : error.message;
        return [{name: file.name, reason, file: error.code === "offline" ? file : undefined}];
    }
}
