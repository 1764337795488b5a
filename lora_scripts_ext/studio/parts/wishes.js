// What a contact sheet is to show: the prompts, the strengths, the seed.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {checkpointName} from "./checkpoint.js";
import {Dialog} from "./dialog.js";
import {Field, tied} from "./field.js";
import {Wrong} from "./message.js";

export function Wishes({review, problem, onDraw, onClose}) {
    const [prompts, setPrompts] = useState(review.prompts.join("\n"));
    const [strengths, setStrengths] = useState(review.strengths.join(", "));
    const [seed, setSeed] = useState(String(review.seed ?? ""));
    const all = review.all_checkpoints;
    const shown = review.checkpoints.map((one) => one.file);
    const [left, setLeft] = useState(/** @type {string[]} */ (all.map((one) => one.file).filter((file) => !shown.includes(file))));
    const draw = (/** @type {Event} */ event) => {
        event.preventDefault();
        /** @type {Record<string, unknown>} */
        const wishes = {};
        const lines = prompts.split("\n").map((line) => line.trim()).filter(Boolean);
        const numbers = strengths.split(/[\s,;]+/).filter(Boolean).map(Number);
        if (lines.length) wishes.prompts = lines;
        if (numbers.length) wishes.strengths = numbers;
        if (seed.trim()) wishes.seed = Number(seed);
        wishes.checkpoints = all.map((one) => one.file).filter((file) => !left.includes(file));
        return onDraw(wishes);
    };
    const toggle = (/** @type {string} */ file) => setLeft(left.includes(file) ? left.filter((one) => one !== file) : [...left, file]);
    const wrong = (/** @type {string} */ field) => (problem && problem.field === field ? problem.message : undefined);
    const fields = {prompts: wrong("prompts"), strengths: wrong("strengths"), seed: wrong("seed")};
    return html`<${Dialog} title=${t("wishes.title")} onClose=${onClose}><form onSubmit=${draw}>
        <${Field} id="prompts" label=${t("wishes.prompts")} hint=${t("wishes.promptsHint")} error=${fields.prompts}>
            <textarea rows="5" ...${tied("prompts", fields.prompts)} value=${prompts} onInput=${typed(setPrompts)}></textarea><//>
        <${Field} id="strengths" label=${t("wishes.strengths")} hint=${t("wishes.strengthsHint")} error=${fields.strengths}>
            <input ...${tied("strengths", fields.strengths)} value=${strengths} onInput=${typed(setStrengths)} /><//>
        <${Field} id="seed" label=${t("wishes.seed")} hint=${t("wishes.seedHint")} error=${fields.seed}>
            <input inputmode="numeric" ...${tied("seed", fields.seed)} value=${seed} onInput=${typed(setSeed)} /><//>
        ${all.length > 1 && html`<fieldset class="field"><legend>${t("wishes.checkpoints")}</legend><div class="row tight">
            ${all.map((one) => html`<label class="check"><input type="checkbox" checked=${!left.includes(one.file)}
                onChange=${() => toggle(one.file)} /> ${checkpointName(one)}</label>`)}</div></fieldset>`}
        <${Wrong} problem=${problem && !(problem.field in fields) ? problem : null} />
        <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button><button class="main">${t("compare.draw")}</button></div>
    </form><//>`;
}
