// A button that lets one file be chosen.

import {useRef} from "preact/hooks";
import {html} from "../html.js";

/** @param {{label: string, accept: string, onFile: (file: File) => unknown}} properties */
export function FileButton({label, accept, onFile}) {
    const input = useRef(/** @type {HTMLInputElement | null} */ (null));
    const chosen = (event) => {
        const [file] = event.target.files;
        event.target.value = "";
        return file && onFile(file);
    };
    return html`<button onClick=${() => input.current?.click()}>${label}</button>
        <input ref=${input} type="file" accept=${accept} hidden aria-label=${label} onChange=${chosen} />`;
}
