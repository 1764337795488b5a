// What went wrong, as a sentence with its remedy.

import {html} from "../html.js";
import {t} from "../words.js";

/** @param {{problem: {message: string, code?: string} | null | undefined}} properties */
export function Wrong({problem}) {
    if (!problem) return null;
    return html`<p class="error" role="alert">${problem.code === "offline" ? t("offline.action") : problem.message}</p>`;
}
