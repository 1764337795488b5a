// Where a finished LoRA is, and how it is used.

import {useState} from "preact/hooks";
import {get} from "../api.js";
import {html} from "../html.js";
import {framed, link, tryPrompt} from "../state.js";
import {t} from "../words.js";
import {baseName} from "./checkpoint.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

const WEIGHT = 0.8;

/** @param {{job: any, trigger: string}} properties a training that has written a LoRA */
export function Result({job, trigger}) {
    const [copied, setCopied] = useState(false);
    const [problem, work] = useWork();
    const file = job.result.published || job.result.lora;
    if (!file) return null;
    const name = baseName(file).replace(/\.safetensors$/, "");
    const prompt = [trigger, `<lora:${name}:${WEIGHT}>`].filter(Boolean).join(" ");
    const copy = async () => {
        await navigator.clipboard?.writeText(prompt);
        setCopied(true);
    };
    const tryIt = () => work(async () => tryPrompt(prompt, (await get(`jobs/${job.id}`)).config.base_model));
    return html`
        <div class="result stack">
            <b>${t(job.state === "done" ? "result.done" : "result.stopped")}</b>
            <code>${file}</code>
            <p>${t("result.use")} <code>${prompt}</code></p>
            <div class="row tight">
                ${framed && html`<button class="main" onClick=${tryIt}>${t("result.try")}</button>`}
                ${navigator.clipboard && html`<button onClick=${copy}>${t(copied ? "copied" : "result.copy")}</button>`}
                ${job.model && html`<a class="button" href=${link("catalogues")}>${t("result.products")}</a>`}
            </div>
            <${Wrong} problem=${problem} />
        </div>`;
}
