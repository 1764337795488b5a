// A dialog over the page: closed by Escape, its own button, or what is done in it.

import {useEffect, useRef} from "preact/hooks";
import {html} from "../html.js";
import {t} from "../words.js";

/** @param {{title: string, onClose: () => void, wide?: boolean, onKeyDown?: (event: KeyboardEvent) => void, children?: any}} properties */
export function Dialog({title, onClose, wide, onKeyDown, children}) {
    const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
    useEffect(() => {
        element.current?.showModal();
    }, []);
    // Of dialogs in a dialog only the innermost is closed.
    const close = (/** @type {Event} */ event) => {
        if (event.target === element.current) onClose();
    };
    return html`
        <dialog ref=${element} class=${wide ? "wide" : ""} aria-label=${title} onClose=${close} onKeyDown=${onKeyDown}>
            <div class="row top"><h2>${title}</h2><span class="space"></span>
                <button type="button" class="quiet" aria-label=${t("close")} onClick=${onClose}>✕</button></div>
            ${children}
        </dialog>`;
}
