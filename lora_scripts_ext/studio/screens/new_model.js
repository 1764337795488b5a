// The three questions that make a new model.

import {useState} from "preact/hooks";
import {post} from "../api.js";
import {html} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {FolderField} from "../parts/folders.js";
import {Wrong} from "../parts/message.js";
import {Goals, TextField, useTriggerWord} from "../parts/model_fields.js";
import {useWork} from "../parts/work.js";
import {go} from "../state.js";
import {t} from "../words.js";

const FIELDS = ["name", "trigger_word", "folder"];

/** @param {{onClose: () => void}} properties */
export function NewModel({onClose}) {
    const [draft, setDraft] = useState({name: "", kind: "brand_style", trigger_word: "", folder: ""});
    const [problem, work] = useWork();
    const [advice, look] = useTriggerWord();
    const set = (/** @type {Record<string, string>} */ change) => setDraft((before) => ({...before, ...change}));
    const suggest = async () => {
        const word = await look({word: draft.trigger_word, name: draft.name});
        if (word && !draft.trigger_word) set({trigger_word: word});
    };
    const create = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            const model = await post("models", draft);
            onClose();
            go("model", model.id);
        });
    };
    const loose = problem && !FIELDS.includes(problem.field || "") ? problem : null;
    const field = {draft, set, problem, onBlur: suggest};
    return html`
        <${Dialog} title=${t("models.new")} onClose=${onClose}>
            <form onSubmit=${create}>
                <${Goals} kind=${draft.kind} onChange=${(/** @type {string} */ kind) => set({kind})} />
                <${TextField} name="name" label=${t("new.name")} hint=${t("new.nameHint")} ...${field} />
                <${TextField} name="trigger_word" label=${t("new.trigger")} hint=${advice || t("new.triggerHint")} ...${field} />
                <${FolderField} value=${draft.folder} onChange=${(/** @type {string} */ folder) => set({folder})}
                    error=${problem && problem.field === "folder" ? problem.message : undefined} />
                <${Wrong} problem=${loose} />
                <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
                    <button class="main">${t("new.create")}</button></div>
            </form>
        <//>`;
}
