// The state of a job or a model, and what people have decided, in words and colour.

import {html} from "../html.js";
import {t} from "../words.js";

const MOOD = {
    done: "ok", failed: "bad", stopped: "warn", draft: "grey", queued: "grey", cancelled: "grey", starting: "", running: "",
    training: "", stopping: "warn",
};

/** @param {{state: keyof typeof MOOD, share?: number | null}} properties `share` of the work that is done, 0 to 1 */
export function Pill({state, share}) {
    const percent = typeof share === "number" ? ` ${Math.floor(100 * share)} %` : "";
    return html`<span class=${`pill ${MOOD[state]}`}>${t(`state.${state}`)}${percent}</span>`;
}

/** @type {Record<string, string>} */
const VERDICTS = {approved: "ok", rejected: "bad", requested: "warn", comment: "grey"};

/** @param {{verdict: string}} properties */
export function Verdict({verdict}) {
    return html`<span class=${`pill ${VERDICTS[verdict]}`}>${t(`review.${verdict}`)}</span>`;
}

/** @param {{share: number, label: string}} properties */
export function Bar({share, label}) {
    const percent = Math.max(0, Math.min(100, 100 * share));
    return html`<div class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
        aria-valuenow=${Math.round(percent)}><div style=${{width: `${percent}%`}}></div></div>`;
}
