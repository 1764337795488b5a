// The questions about a model: what it is, its name, its trigger word.

import {useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt, KINDS} from "../state.js";
import {t} from "../words.js";
import {Field, tied} from "./field.js";

/** @param {{kind: string, onChange: (kind: string) => void}} properties */
export function Goals({kind, onChange}) {
    return html`
        <fieldset class="goals"><legend>${t("new.what")}</legend>
            ${KINDS.map((one) => html`
                <label class=${one === kind ? "goal on" : "goal"}>
                    <input type="radio" name="kind" checked=${one === kind} onChange=${() => onChange(one)} />
                    <b>${t(`kind.${one}`)}</b><span class="small soft">${t(`kind.${one}.hint`)}</span>
                </label>`)}
        </fieldset>`;
}

/**
 * @param {{name: string, label: string, hint: string, draft: Record<string, string>, set: (change: Record<string, string>) => void,
 *     problem: {field: string | null, message: string} | null, onBlur?: () => unknown}} properties
 */
export function TextField({name, label, hint, draft, set, problem, onBlur}) {
    const error = problem && problem.field === name ? problem.message : undefined;
    const id = `model-${name}`;
    return html`
        <${Field} id=${id} label=${label} hint=${hint} error=${error}>
            <input ...${tied(id, error)} value=${draft[name]} onBlur=${onBlur} autocomplete="off"
                onInput=${typed((text) => set({[name]: text}))} />
        <//>`;
}

/** @param {string} text @returns {string[]} the tags in a field, between commas */
export const tagsOf = (text) => text.split(/[,，;\n]+/).map((tag) => tag.trim()).filter(Boolean);

/**
 * What the server thinks of a trigger word, and one that it suggests.
 * @param {string} model whose own word does not count as used
 * @returns {[string, (of: {word: string, name: string}) => Promise<string>]} the advice; looks a word up, or suggests one
 */
export function useTriggerWord(model = "") {
    const [advice, setAdvice] = useState("");
    const look = async (/** @type {{word: string, name: string}} */ {word, name}) => {
        if (!word.trim() && !name.trim()) return "";
        const query = new URLSearchParams({...(word.trim() ? {word} : {name}), model});
        const found = await attempt(() => get(`trigger-word?${query}`));
        if (!found) return "";
        setAdvice(found.used ? t("new.used", {word: found.word}) : found.advice);
        return found.word;
    };
    return [advice, look];
}
