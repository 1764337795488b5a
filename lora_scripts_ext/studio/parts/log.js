// What became of a job, with times, and what its process has printed.

import {useEffect, useRef, useState} from "preact/hooks";
import {get, getText} from "../api.js";
import {html} from "../html.js";
import {attempt} from "../state.js";
import {moment, t} from "../words.js";

const PERIOD = 2000;

/** @param {{job: string, active: boolean}} properties `active`: whether more may come */
export function Log({job, active}) {
    const [open, setOpen] = useState(false);
    const [text, setText] = useState("");
    const element = useRef(/** @type {HTMLPreElement | null} */ (null));
    useEffect(() => {
        if (!open) return undefined;
        const load = async () => {
            const [whole, printed] = (await attempt(() => Promise.all([get(`jobs/${job}`), getText(`jobs/${job}/log`)]))) || [];
            if (whole) setText([...whole.changes.map(line), printed].filter(Boolean).join("\n"));
        };
        load();
        const timer = active ? setInterval(load, PERIOD) : undefined;
        return () => clearInterval(timer);
    }, [open, job, active]);
    useEffect(() => {
        if (element.current) element.current.scrollTop = element.current.scrollHeight;
    }, [text]);
    return html`
        <details class="small" onToggle=${(event) => setOpen(event.target.open)}>
            <summary>${t("log.title")}</summary>
            <pre ref=${element} class="log" tabindex="0" aria-label=${t("log.title")}>${text || t("log.empty")}</pre>
        </details>`;
}

/** @param {{at: string, state: string, reason: string}} change @returns {string} */
function line({at, state, reason}) {
    return [moment(at), t(`state.${state}`), reason].filter(Boolean).join("  ");
}
