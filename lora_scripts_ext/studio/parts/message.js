// What went wrong, as a sentence with its remedy.

import {html} from "../html.js";

/** @param {{problem: {message: string} | null | undefined}} properties */
export function Wrong({problem}) {
    return problem ? html`<p class="error" role="alert">${problem.message}</p>` : null;
}
