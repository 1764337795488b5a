// What the check thinks of an image.

import {html} from "../html.js";
import {t} from "../words.js";

/** @param {any} image @returns {string} what is said of it in a word; empty where it is good, or not checked */
export function word(image) {
    if (image.excluded) return t("images.show.excluded");
    return !image.verdict || image.verdict === "good" ? "" : t(`images.show.${image.verdict}`);
}

/** @param {{image: any}} properties */
export function Verdict({image}) {
    const kind = image.excluded ? "grey" : image.verdict === "bad" ? "bad" : "warn";
    return word(image) ? html`<em class=${`pill ${kind}`}>${word(image)}</em>` : null;
}

/** @param {any} image @returns {string} */
export const reasons = (image) => image.reasons.map((one) => one.text).join("; ");
