// One model: its head, and the steps from images to a LoRA.

import {useCallback, useEffect, useState} from "preact/hooks";
import {get, patch, Problem} from "../api.js";
import {html} from "../html.js";
import {Pill} from "../parts/pill.js";
import {attempt, jobs, link} from "../state.js";
import {t} from "../words.js";
import {Captions} from "./captions.js";
import {Images} from "./images.js";
import {Train} from "./train.js";

/** @type {Record<string, (properties: any) => any>} */
const STEPS = {images: Images, captions: Captions, train: Train};

/** @param {{rest: string[]}} properties the model's id and the step */
export function Model({rest}) {
    const [id, step = "images"] = rest;
    const [model, setModel] = useState(/** @type {any} */ (null));
    const own = (jobs.value || []).filter((job) => job.model === id);
    const stand = own.map((job) => `${job.id}${job.state}`).join();
    const refresh = useCallback(async () => {
        const found = await attempt(() => get(`models/${id}`));
        if (found) setModel(found);
    }, [id]);
    useEffect(() => {
        refresh();
    }, [refresh, stand]);
    if (!model || model.id !== id) return html`<p class="soft">${t("loading")}</p>`;
    // A draft is kept on the server at every change.
    const change = async (/** @type {Record<string, unknown>} */ values) => {
        setModel({...model, ...values});
        setModel(await patch(`models/${id}`, values));
    };
    const Step = STEPS[step] || Images;
    return html`
        <${Head} model=${model} step=${step in STEPS ? step : "images"} />
        <${Step} model=${model} jobs=${own} change=${change} refresh=${refresh} />`;
}

/** @param {any} properties */
function Head({model, step}) {
    const counts = model.counts;
    return html`
        <div class="row">
            <div>
                <h1>${model.name} <${Pill} state=${model.state.standing} share=${model.state.share} /></h1>
                <span class="soft">${[t(`kind.${model.kind}`), model.trigger_word,
                    counts && t("models.images", {count: counts.included})].filter(Boolean).join(" · ")}</span>
            </div>
        </div>
        <nav class="steps" aria-label=${model.name}>
            ${Object.keys(STEPS).map((name, index) => html`
                <a href=${link("model", model.id, name)} class=${name === step ? "on" : ""} aria-current=${name === step ? "step" : undefined}>
                    <i aria-hidden="true">${index + 1}</i>${t(`tab.${name}`)}</a>`)}
        </nav>`;
}

/**
 * What went wrong with a piece of work, kept until the next one succeeds.
 * @returns {[Problem | null, (work: () => Promise<unknown>) => Promise<boolean>]}
 */
export function useWork() {
    const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
    const work = async (/** @type {() => Promise<unknown>} */ what) => {
        try {
            await what();
            setProblem(null);
            return true;
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            setProblem(error);
            return false;
        }
    };
    return [problem, work];
}
