// When a training is to begin, if not now.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {Dialog} from "./dialog.js";
import {Wrong} from "./message.js";

const NIGHT = "22:00-06:00";
const CHOICES = ["end", "night", "at"];

/**
 * @param {{job?: any, problem: any, onChoose: (when: {window: string, not_before: string | null}) => unknown, onClose: () => void}} properties
 *     `job`: one that waits already
 */
export function Later({job, problem, onChoose, onClose}) {
    const [choice, setChoice] = useState(job?.not_before ? "at" : job?.window ? "night" : "end");
    const [window, setWindow] = useState(job?.window || NIGHT);
    const [time, setTime] = useState(job?.not_before ? local(new Date(job.not_before)) : "");
    const choose = (/** @type {Event} */ event) => {
        event.preventDefault();
        return onChoose({
            window: choice === "night" ? window.trim() : "", not_before: choice === "at" && time ? new Date(time).toISOString() : null,
        });
    };
    return html`
        <${Dialog} title=${t("later.title")} onClose=${onClose}>
            <form class="stack" onSubmit=${choose}>
                <fieldset class="stack"><legend class="hidden">${t("later.title")}</legend>
                    ${CHOICES.map((name) => html`<label class="check">
                        <input type="radio" name="when" checked=${choice === name} onChange=${() => setChoice(name)} /> ${t(`later.${name}`)}</label>`)}
                </fieldset>
                ${choice === "night" && html`<label>${t("later.window")} <input value=${window}
                    onInput=${typed(setWindow)} /></label>`}
                ${choice === "at" && html`<label>${t("later.time")} <input type="datetime-local" required value=${time}
                    onInput=${typed(setTime)} /></label>`}
                <${Wrong} problem=${problem} />
                <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
                    <button class="main">${t(job ? "later.save" : "later.queue")}</button></div>
            </form>
        <//>`;
}

/** @param {Date} date @returns {string} as a datetime-local field holds it */
function local(date) {
    return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 16);
}
