// One model: its head, and the steps from images to a LoRA.

import {useCallback, useEffect, useState} from "preact/hooks";
import {get, patch, Problem} from "../api.js";
import {html} from "../html.js";
import {lazy} from "../lazy.js";
import {Wrong} from "../parts/message.js";
import {Pill} from "../parts/pill.js";
import {useWork} from "../parts/work.js";
import {jobs, link, online} from "../state.js";
import {t} from "../words.js";

/** @type {Record<string, (properties: any) => any>} */
const STEPS = {
    images: lazy(() => import("./images.js").then(({Images}) => Images), "images"),
    captions: lazy(() => import("./captions.js").then(({Captions}) => Captions), "captions", "images"),
    train: lazy(() => import("./train.js").then(({Train}) => Train), "train", "queue"),
    compare: lazy(() => import("./compare.js").then(({Compare}) => Compare), "compare"),
};
const EditModel = lazy(() => import("./edit_model.js").then(({EditModel}) => EditModel), "new");
// What another browser changes shows up here.
const PERIOD = 4000;

/** @param {{rest: string[]}} properties the model's id and the step */
export function Model({rest}) {
    const [id, step = "images", ...further] = rest;
    const [model, setModel] = useState(/** @type {any} */ (null));
    const [gone, setGone] = useState(/** @type {Problem | null} */ (null));
    const [problem, work] = useWork();
    const own = (jobs.value || []).filter((job) => job.model === id);
    const stand = own.map((job) => `${job.id}${job.state}`).join();
    const refresh = useCallback(async () => {
        try {
            const found = await get(`models/${id}`);
            online.value = true;
            setModel(found);
            setGone(null);
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            online.value = error.code !== "offline";
            if (error.code === "not_found") setGone(error);
        }
    }, [id]);
    useEffect(() => {
        refresh();
        const timer = setInterval(() => document.hidden || refresh(), PERIOD);
        return () => clearInterval(timer);
    }, [refresh, stand]);
    if (gone) return html`<p class="error" role="alert">${gone.message}</p><p><a href=${link("models")}>${t("models.title")}</a></p>`;
    if (!model || model.id !== id) return html`<p class="soft">${t("loading")}</p>`;
    // A draft is kept on the server at every change; only what was changed here, so that two browsers do not undo
    // each other's changes.
    const set = (/** @type {Record<string, unknown>} */ values) => work(async () => {
        const newest = await get(`models/${id}`);
        const config = {...newest.config, ...values};
        for (const [key, value] of Object.entries(values)) {
            if (value === undefined) delete config[key];
        }
        setModel(await patch(`models/${id}`, {config}));
    });
    const Step = STEPS[step] || STEPS.images;
    return html`
        <${Head} model=${model} step=${step in STEPS ? step : "images"} onChange=${setModel} />
        <${Wrong} problem=${problem} />
        <${Step} model=${model} jobs=${own} set=${set} refresh=${refresh} rest=${further} />`;
}

function Head({model, step, onChange}) {
    const [edited, setEdited] = useState(false);
    const counts = model.counts;
    /** @type {Record<string, boolean>} */
    const done = {
        images: counts && counts.included > 0, captions: counts && counts.included > 0 && !counts.without_caption,
        train: model.state.versions > 0, compare: model.state.review === "approved",
    };
    return html`
        <div class="row">
            <div>
                <h1>${model.name} <${Pill} state=${model.state.standing} share=${model.state.share} />
                    ${model.retired && html` <span class="pill grey">${t("models.retired")}</span>`}</h1>
                <span class="soft">${[t(`kind.${model.kind}`), model.trigger_word,
                    counts && t("models.images", {count: counts.included})].filter(Boolean).join(" · ")}</span>
            </div>
            <span class="space"></span>
            <button onClick=${() => setEdited(true)}>${t("model.edit")}</button>
        </div>
        <nav class="steps" aria-label=${model.name}>
            ${Object.keys(STEPS).map((name, index) => html`
                <a href=${link("model", model.id, name)} class=${[name === step && "on", done[name] && "done"].filter(Boolean).join(" ")}
                    aria-current=${name === step ? "step" : undefined}>
                    <i aria-hidden="true">${done[name] ? "✓" : index + 1}</i>${t(`tab.${name}`)}
                    ${done[name] && html`<span class="hidden">${t("tab.done")}</span>`}</a>`)}
        </nav>
        ${edited && html`<${EditModel} model=${model} onChange=${onChange} onClose=${() => setEdited(false)} />`}`;
}
