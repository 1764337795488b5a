// How many images are drawn and how, and how far that is.

import {post} from "../api.js";
import {html, typed} from "../html.js";
import {isOpen, jobs, link, refreshJobs} from "../state.js";
import {t} from "../words.js";
import {DraftField} from "./draft_field.js";
import {Wrong} from "./message.js";
import {Progress} from "./progress.js";
import {useWork} from "./work.js";

const NUMBERS = ["width", "height", "steps", "cfg_scale"];

/**
 * @param {{catalogue: any, path: string, onSet: (values: Record<string, unknown>) => unknown, settled: () => Promise<unknown>,
 *     refresh: () => Promise<unknown>,
 *     refused: import("../api.js").Problem | null}} properties `settled`: when the server has every setting; `refused`: what it did not take
 */
export function DrawCard({catalogue, path, refused, onSet, settled, refresh}) {
    const [problem, work] = useWork();
    const {settings, counts, products, candidates} = catalogue;
    const matched = products - counts.unmatched;
    const missing = counts.ready * settings.candidates + candidates.waiting + candidates.failed;
    const known = (jobs.value || []).find((one) => catalogue.job && one.id === catalogue.job.id);
    const job = known || catalogue.job;
    const drawing = Boolean(job && isOpen(job));
    const draw = () => work(async () => {
        await settled();
        await post(`${path}/generate`);
        await Promise.all([refreshJobs(), refresh()]);
    });
    const stop = () => work(async () => {
        await post(`jobs/${job.id}/${job.state === "queued" ? "cancel" : "stop"}`);
        await Promise.all([refreshJobs(), refresh()]);
    });
    const count = (/** @type {string} */ text) => Number(text) >= 1 && onSet({candidates: Math.round(Number(text))});
    return html`<section class="card stack" aria-label=${t("draw.title")}>
        <h2>${t("draw.title")}</h2>
        <label class="check">${t("draw.candidates")} <${DraftField} type="number" class="short" min="1" max="9" value=${settings.candidates} onCommit=${count} /></label>
        <label class="check"><input type="checkbox" checked=${settings.keep_product} onChange=${() => onSet({keep_product: !settings.keep_product})} />
            <span>${t("draw.keep")}<span class="small soft"> ${t("draw.keepHint")}</span></span></label>
        <dl class="fact"><dt>${t("catalogue.products")}</dt><dd>${products}</dd>
            ${counts.unmatched > 0 && html`<dt>${t("product.unmatched")}</dt><dd>${counts.unmatched}</dd>`}
            <dt>${t("draw.images")}</dt><dd>${matched * settings.candidates}</dd>
            ${candidates.drawn > 0 && html`<dt>${t("draw.there")}</dt><dd>${candidates.drawn}</dd>`}
            ${candidates.failed > 0 && html`<dt>${t("product.failed")}</dt><dd>${candidates.failed}</dd>`}</dl>
        ${drawing ? html`<${Progress} job=${job} />
                <button onClick=${stop}>${t("draw.stop")}</button>`
            : html`<button class="main" disabled=${matched === 0 || missing === 0} onClick=${draw}>${missing ? t("draw.begin", {count: missing}) : t(matched ? "draw.nothing" : "draw.title")}</button>
                ${matched === 0 && html`<p class="small soft">${t("draw.unmatched")}</p>`}
                ${!settings.channels.length && html`<p class="small soft">${t("draw.channels")}</p>`}`}
        <${Wrong} problem=${refused || problem} />
        ${!drawing && job && ["failed", "stopped"].includes(job.state) && html`<p class=${job.state === "failed" ? "small error" : "small soft"} role="alert">${job.reason}</p>`}
        ${candidates.drawn > 0 && html`<a class=${missing || drawing ? "button" : "button main"} href=${link("catalogues", catalogue.id, "choose")}>${t("draw.next")}</a>`}
        <details><summary>${t("draw.more")}</summary><div class="stack">
            <label>${t("draw.negative")}<${DraftField} as="textarea" rows="2" maxlength="4000" value=${settings.negative_prompt} onCommit=${(/** @type {string} */ text) => onSet({negative_prompt: text})} /></label>
            <div class="numbers">${NUMBERS.map((name) => html`<label class="small">${t(`draw.${name}`)} <${DraftField} type="number" class="short" min="0" step=${name === "cfg_scale" ? "any" : 1} value=${settings[name]}
                onCommit=${(/** @type {string} */ text) => onSet({[name]: Number(text)})} /></label>`)}</div>
            <p class="small soft">${t("draw.sizeHint")}</p>
            <div><label for="draw-language">${t("draw.language")}</label><select id="draw-language" value=${settings.language} onChange=${typed((language) => onSet({language}))}>
                <option value="en">${t("draw.english")}</option><option value="zh">${t("draw.chinese")}</option></select></div>
            <label>${t("draw.producer")}<${DraftField} value=${settings.producer} maxlength="100" autocomplete="off" onCommit=${(/** @type {string} */ producer) => onSet({producer: producer.trim()})} /></label>
            <label>${t("draw.base")}<${DraftField} value=${settings.base_model} spellcheck="false" autocomplete="off" onCommit=${(/** @type {string} */ file) => onSet({base_model: file})} /></label>
        </div></details>
    </section>`;
}
