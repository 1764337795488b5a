// Where a catalogue's products come from: a list that is sent from here, its photos with it, or one of the server's.

import {useRef, useState} from "preact/hooks";
import {encodePath, patch, post, Problem, request} from "../api.js";
import {html} from "../html.js";
import {pathOf} from "../uploads.js";
import {t} from "../words.js";
import {Drop} from "./drop.js";
import {FolderField} from "./folders.js";
import {Wrong} from "./message.js";

const LISTS = [".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".json", ".jsonl", ".ndjson"];
const ACCEPTED = `${LISTS.join()},.zip,image/*`;

/**
 * @param {{path: string, source: string, read: (values: Record<string, unknown>) => Promise<unknown>, problem: Problem | null,
 *     onDone: () => Promise<unknown>, empty?: boolean}} properties `source`: what the products were read from so far
 */
export function ListSource({path, source, read, problem, onDone, empty}) {
    const [place, setPlace] = useState("");
    const [wrong, setWrong] = useState(/** @type {Problem | null} */ (null));
    // Where the photos of this drop lie; whether a list was among it, which finds them.
    const sent = useRef({folder: "", list: false});
    const send = async (/** @type {File} */ file) => {
        if (isList(file.name)) {
            await sendList(path, file);
            sent.current.list = true;
            return {skipped: []};
        }
        const {folder, skipped} = await request("PUT", `${path}/photos/${encodePath(pathOf(file))}`, file);
        sent.current.folder = folder;
        return {skipped};
    };
    const done = async () => {
        const {folder, list} = sent.current;
        sent.current = {folder: "", list: false};
        try {
            // Of photos alone each is a product.
            if (folder && !list) await (source ? post(`${path}/read`) : patch(path, {source: folder}));
            setWrong(null);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            setWrong(error);
        }
        await onDone();
    };
    const take = (/** @type {Event} */ event) => {
        event.preventDefault();
        return read({source: place.trim(), columns: {}});
    };
    return html`<${Drop} send=${send} title=${t("products.drop")} hint=${t("products.dropHint")} accept=${ACCEPTED} order=${photosFirst} empty=${Boolean(empty)} onDone=${done} />
        <${Wrong} problem=${wrong} />
        <form class=${empty ? "card" : ""} onSubmit=${take}>
            <${FolderField} value=${place} onChange=${setPlace} label=${t("products.place")} hint=${t("products.placeHint")} />
            <${Wrong} problem=${problem} />
            <div class="row end"><button class=${place.trim() ? "main" : ""} disabled=${!place.trim()}>${t("products.read")}</button></div></form>`;
}

/** @param {string} name */
const isList = (name) => LISTS.some((ending) => name.toLowerCase().endsWith(ending));

/** @param {File[]} files @returns {File[]} the list behind its photos, which it then finds; nothing that systems hide */
const photosFirst = (files) => {
    const seen = files.filter((one) => !one.name.startsWith(".") && one.name !== "Thumbs.db");
    return [...seen.filter((one) => !isList(one.name)), ...seen.filter((one) => isList(one.name))];
};

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
}
