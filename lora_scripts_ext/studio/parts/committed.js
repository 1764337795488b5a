// A field whose text counts once it is left: what is being written stays, whatever is drawn anew meanwhile.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";

/** @param {{value: string | number, onCommit: (text: string) => unknown, as?: "input" | "textarea", [attribute: string]: any}} properties */
export function Committed({value, onCommit, as = "input", ...attributes}) {
    const [draft, setDraft] = useState(/** @type {string | null} */ (null));
    const commit = (/** @type {string} */ text) => {
        setDraft(null);
        return onCommit(text);
    };
    return html`<${as} ...${attributes} value=${draft ?? value} onInput=${typed(setDraft)} onChange=${typed(commit)} onBlur=${() => setDraft(null)} />`;
}
