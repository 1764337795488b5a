// A model's settings as the YAML file that `train.py --config` takes, out and in.

import {useEffect, useState} from "preact/hooks";
import {getText, request} from "../api.js";
import {html, typed} from "../html.js";
import {t} from "../words.js";
import {Dialog} from "./dialog.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

/** @param {{model: any, onClose: () => void}} properties */
export function Yaml({model, onClose}) {
    const [text, setText] = useState("");
    const [notes, setNotes] = useState(/** @type {string[]} */ ([]));
    const [copied, setCopied] = useState(false);
    const [problem, work] = useWork();
    const path = `models/${model.id}/config.yaml`;
    useEffect(() => {
        work(async () => setText(await getText(path)));
    }, []);
    const use = () => work(async () => {
        const taken = await request("PUT", path, new Blob([text], {type: "application/yaml"}));
        setNotes([t("yaml.taken"), ...taken.notes]);
    });
    const copy = async () => {
        await navigator.clipboard?.writeText(text);
        setCopied(true);
    };
    return html`
        <${Dialog} title="YAML" wide onClose=${onClose}>
            <p class="soft small">${t("yaml.hint")}</p>
            <textarea class="code" rows="18" spellcheck="false" aria-label="YAML" value=${text}
                onInput=${typed(setText)}></textarea>
            <${Wrong} problem=${problem} />
            ${notes.map((note) => html`<p class="small" role="status">${note}</p>`)}
            <div class="row end">
                ${navigator.clipboard && html`<button onClick=${copy}>${t(copied ? "copied" : "copy")}</button>`}
                <a class="button" download=${`${model.name}.yaml`} href=${`data:application/yaml;charset=utf-8,${encodeURIComponent(text)}`}>${t("download")}</a>
                <button class="main" onClick=${use}>${t("yaml.use")}</button>
            </div>
        <//>`;
}
