// A dialog over the page: closed by Escape, its own button, or what is done in it.

import {useEffect, useRef} from "preact/hooks";
import {html} from "../html.js";
import {t} from "../words.js";

/**
 * @param {{title: string, onClose: () => void, wide?: boolean, onKeyDown?: (event: KeyboardEvent) => void, stage?: unknown, children?: any}} properties
 *     `stage`: what is shown in it; where it changes, the focus may have been on what is gone
 */
export function Dialog({title, onClose, wide, onKeyDown, stage, children}) {
    const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
    useEffect(() => {
        const dialog = element.current;
        if (!dialog) return;
        if (!dialog.open) dialog.showModal();
        else if (!dialog.contains(document.activeElement)) dialog.focus();
    }, [stage]);
    // Of dialogs in a dialog only the innermost is closed.
    const close = (/** @type {Event} */ event) => {
        if (event.target === element.current) onClose();
    };
    return html`
        <dialog ref=${element} tabindex="-1" class=${wide ? "wide" : ""} aria-label=${title} onClose=${close} onKeyDown=${onKeyDown}>
            <div class="row top"><h2>${title}</h2><span class="space"></span>
                <button type="button" class="quiet" aria-label=${t("close")} onClick=${onClose}>✕</button></div>
            ${children}
        </dialog>`;
}
