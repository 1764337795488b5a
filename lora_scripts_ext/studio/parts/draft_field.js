// A field that reports its value when it changes (on Enter or blur); a render in between does not replace what is being typed.

import {useState} from "preact/hooks";
import {html, typed} from "../html.js";

/** @param {{value: string | number, onCommit: (text: string) => unknown, as?: "input" | "textarea", [attribute: string]: any}} properties */
export function DraftField({value, onCommit, as = "input", ...attributes}) {
    const [draft, setDraft] = useState(/** @type {string | null} */ (null));
    const commit = (/** @type {string} */ text) => {
        setDraft(null);
        return onCommit(text);
    };
    return html`<${as} ...${attributes} value=${draft ?? value} onInput=${typed(setDraft)} onChange=${typed(commit)} onBlur=${() => setDraft(null)} />`;
}
