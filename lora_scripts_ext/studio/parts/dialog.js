// A dialog over the page: closed by Escape, its own button, or what is done in it.

import {useEffect, useRef} from "preact/hooks";
import {html} from "../html.js";
import {t} from "../words.js";

/** @param {{title: string, onClose: () => void, children?: any}} properties */
export function Dialog({title, onClose, children}) {
    const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
    useEffect(() => {
        element.current?.showModal();
    }, []);
    return html`
        <dialog ref=${element} aria-label=${title} onClose=${onClose} onCancel=${onClose}>
            <div class="row"><h2>${title}</h2><span class="space"></span>
                <button class="quiet" aria-label=${t("close")} onClick=${onClose}>✕</button></div>
            ${children}
        </dialog>`;
}
