// A labelled field with its help, and the error that belongs to it.

import {html} from "../html.js";

/**
 * @param {{id: string, label: string, hint?: string, error?: string, children?: any}} properties
 *     `children` is the control; it must have the id `id`, and name `${id}-hint` and `${id}-error` in aria-describedby
 */
export function Field({id, label, hint, error, children}) {
    return html`
        <div class=${error ? "field wrong" : "field"}>
            <label for=${id}>${label}</label>
            ${children}
            ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
            ${error && html`<span class="error" id=${`${id}-error`} role="alert">${error}</span>`}
        </div>`;
}

/** @param {string} id @param {string} [error] the attributes that tie a control to its field */
export const tied = (id, error) => ({
    id, "aria-describedby": `${id}-hint ${id}-error`, "aria-invalid": error ? "true" : undefined,
});
