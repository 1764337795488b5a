// Which LoRA, and how strongly: one of the library's, or another that the host has.

import {signal} from "@preact/signals";
import {useEffect} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";

/** Names of the models that have a version. @type {import("@preact/signals").Signal<string[] | null>} */
const known = signal(null);
const MOST = 500;
const FRESH = 5000;
let asked = 0;

/** @param {any[]} loras as the API gives them @returns {string} for people */
export const loraNames = (loras) => loras.map((one) => `${one.name || one.file.split(/[\\/]/).pop()} ${one.weight}`).join(" + ");

/** @param {{name: string, weight: number}} written @returns {any} a path is a file, anything else a name */
export const asLora = ({name, weight}) => (/[\\/]|\.safetensors$/.test(name) ? {file: name, weight} : {name, weight});

/**
 * @param {{lora: {name: string, weight: number}, id: string, commit?: boolean, onChange: (lora: {name: string, weight: number}) => void}} properties
 *     `commit`: a change counts when the field is left
 */
export function LoraFields({lora, id, commit, onChange}) {
    useEffect(() => {
        // Many fields, one question.
        if (Date.now() - asked < FRESH) return;
        asked = Date.now();
        attempt(() => get(`models?limit=${MOST}`)).then((found) => {
            if (found) known.value = found.items.filter((one) => one.state.versions > 0).map((one) => one.name);
        });
    }, []);
    const Kind = commit ? DraftField : "input";
    const heard = (/** @type {(value: string) => void} */ set) => (commit ? {onCommit: set} : {onInput: typed(set)});
    return html`<${Kind} class="grow" aria-label=${t("lora.name")} placeholder=${t("lora.none")} list=${`${id}-known`} value=${lora.name} autocomplete="off"
            ...${heard((name) => onChange({...lora, name}))} />
        <datalist id=${`${id}-known`}>${(known.value || []).map((name) => html`<option value=${name}></option>`)}</datalist>
        <${Kind} class="short" type="number" step="0.05" min="-2" max="2" aria-label=${t("lora.weight")} value=${lora.weight}
            ...${heard((weight) => onChange({...lora, weight: Number(weight)}))} />`;
}
