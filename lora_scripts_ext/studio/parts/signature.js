// The name under which whoever is here decides, kept in this browser.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {keyed} from "../state.js";
import {t} from "../words.js";

const NAME = "lora-trainer-name";

/** @returns {string} empty where nobody has given one */
export function signature() {
    try {
        return localStorage.getItem(NAME) || "";
    } catch {
        // A frame of another site may have no storage.
        return "";
    }
}

/** @param {string} who for the next time */
export function sign(who) {
    try {
        localStorage.setItem(NAME, who);
    } catch {
        // It is asked for again.
    }
}

/** The field for it, where no key says who it is. */
export function Signature() {
    const [who, setWho] = useState(signature());
    const written = (/** @type {string} */ name) => {
        setWho(name);
        sign(name.trim());
    };
    if (keyed.value) return null;
    return html`<input class="who" aria-label=${t("choose.who")} placeholder=${t("choose.who")} title=${t("choose.whoHint")} value=${who} maxlength="100" autocomplete="name" onInput=${typed(written)} />`;
}
