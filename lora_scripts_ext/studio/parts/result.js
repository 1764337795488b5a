// Where a finished LoRA is, and how it is used.

import {useState} from "preact/hooks";
import {html} from "../html.js";
import {framed} from "../state.js";
import {t} from "../words.js";

const WEIGHT = 0.8;

/** @param {{job: any, trigger: string}} properties a training that has written a LoRA */
export function Result({job, trigger}) {
    const [copied, setCopied] = useState(false);
    const file = job.result.published || job.result.lora;
    if (!file) return null;
    const name = file.split(/[\\/]/).pop().replace(/\.safetensors$/, "");
    const prompt = [trigger, `<lora:${name}:${WEIGHT}>`].filter(Boolean).join(" ");
    const copy = async () => {
        await navigator.clipboard?.writeText(prompt);
        setCopied(true);
    };
    const tryIt = () => window.parent.postMessage({type: "lora-trainer/try", prompt}, location.origin);
    return html`
        <div class="result stack">
            <b>${t(job.state === "done" ? "result.done" : "result.stopped")}</b>
            <code>${file}</code>
            <p>${t("result.use")} <code>${prompt}</code></p>
            <div class="row tight">
                ${framed && html`<button class="main" onClick=${tryIt}>${t("result.try")}</button>`}
                ${navigator.clipboard && html`<button onClick=${copy}>${t(copied ? "copied" : "result.copy")}</button>`}
            </div>
        </div>`;
}
