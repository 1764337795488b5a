// How far a job of a catalogue is.

import {html} from "../html.js";
import {duration, t} from "../words.js";
import {Bar, Pill} from "./pill.js";

/** @param {{job: any}} properties */
export function Progress({job}) {
    const {done = 0, total = 0, eta} = job.progress.prepare || {};
    const words = [total > 0 && t("catalogues.of", {done, total}), eta > 0 && duration(eta), job.waits_for || (job.state === "queued" && t("catalogues.waits"))];
    return html`<div><${Pill} state=${job.state} /></div><${Bar} share=${total ? done / total : 0} label=${t("catalogue.drawing")} />
        <p class="small soft" role="status">${words.filter(Boolean).join(" · ")}</p>`;
}
