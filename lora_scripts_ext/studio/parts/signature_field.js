// The field for the name under which somebody decides about products; where a key says who it is there is none.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";
import {keyed} from "../state.js";
import {t} from "../words.js";
import {sign, signature} from "./signature.js";

export function SignatureField() {
    const [who, setWho] = useState(signature());
    const written = (/** @type {string} */ name) => {
        setWho(name);
        sign(name.trim());
    };
    if (keyed.value) return null;
    return html`<input class="who" aria-label=${t("choose.who")} placeholder=${t("choose.who")} title=${t("choose.whoHint")} value=${who} maxlength="100" autocomplete="name" onInput=${typed(written)} />`;
}
