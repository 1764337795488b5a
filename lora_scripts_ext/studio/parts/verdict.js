// What the check thinks of an image.

import {html} from "../html.js";
import {t} from "../words.js";

/** @param {{image: any}} properties */
export function Verdict({image}) {
    if (image.excluded) return html`<em class="pill grey">${t("images.show.excluded")}</em>`;
    if (!image.verdict || image.verdict === "good") return null;
    return html`<em class=${`pill ${image.verdict === "bad" ? "bad" : "warn"}`}>${t(`images.show.${image.verdict}`)}</em>`;
}

/** @param {any} image @returns {string} */
export const reasons = (image) => image.reasons.map((/** @type {any} */ one) => one.text).join("; ");
