// What is loaded when it is opened: a screen or a dialog, with its words.

import {useEffect, useState} from "preact/hooks";
import {html} from "./html.js";
import {learn, t} from "./words.js";

/**
 * A component that stands for one whose module and words are not there yet.
 * @param {() => Promise<(properties: any) => any>} load
 * @param {...string} words groups of words that it needs
 * @returns {(properties: any) => any}
 */
export function lazy(load, ...words) {
    /** @type {((properties: any) => any) | null} */
    let Found = null;
    return (properties) => {
        const [state, setState] = useState(Found ? "there" : "loading");
        useEffect(() => {
            if (Found) return;
            Promise.all([load(), learn(...words)]).then(([component]) => {
                Found = component;
                setState("there");
            }).catch((error) => {
                console.error(error);
                setState("failed");
            });
        }, []);
        if (Found) return html`<${Found} ...${properties} />`;
        if (state === "loading") return html`<p class="soft">${t("loading")}</p>`;
        return html`<p class="error" role="alert">${t("offline.action")} <button onClick=${() => location.reload()}>${t("retry")}</button></p>`;
    };
}
