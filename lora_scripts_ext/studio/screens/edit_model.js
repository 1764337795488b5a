// What a model is called and is, changed; and the way to let it go.

import {useState} from "preact/hooks";
import {patch, post, remove} from "../api.js";
import {html} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {FolderField} from "../parts/folders.js";
import {Wrong} from "../parts/message.js";
import {Goals, tagsOf, TextField, useTriggerWord} from "../parts/model_fields.js";
import {useWork} from "../parts/work.js";
import {go} from "../state.js";
import {t} from "../words.js";

const FIELDS = ["name", "trigger_word", "folder", "tags"];

/** @param {{model: any, onChange: (model: any) => void, onClose: () => void}} properties */
export function EditModel({model, onChange, onClose}) {
    const [draft, setDraft] = useState({name: model.name, kind: model.kind, trigger_word: model.trigger_word, folder: model.folder, tags: (model.tags || []).join(", ")});
    const [problem, work] = useWork();
    const [advice, look] = useTriggerWord(model.id);
    const set = (/** @type {Record<string, string>} */ change) => setDraft((before) => ({...before, ...change}));
    const save = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            onChange(await patch(`models/${model.id}`, {...draft, tags: tagsOf(draft.tags)}));
            onClose();
        });
    };
    const loose = problem && !FIELDS.includes(problem.field || "") ? problem : null;
    const field = {draft, set, problem};
    return html`
        <${Dialog} title=${t("model.edit")} onClose=${onClose}>
            <form onSubmit=${save}>
                <${Goals} kind=${draft.kind} onChange=${(/** @type {string} */ kind) => set({kind})} />
                <${TextField} name="name" label=${t("new.name")} hint=${t("new.nameHint")} ...${field} />
                <${TextField} name="trigger_word" label=${t("new.trigger")} hint=${advice || t("new.triggerHint")} ...${field}
                    onBlur=${() => look({word: draft.trigger_word, name: draft.name})} />
                <${TextField} name="tags" label=${t("new.tags")} hint=${t("new.tagsHint")} ...${field} />
                <${FolderField} value=${draft.folder} onChange=${(/** @type {string} */ folder) => set({folder})}
                    error=${problem && problem.field === "folder" ? problem.message : undefined} />
                <${Wrong} problem=${loose} />
                <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
                    <button class="main">${t("model.save")}</button></div>
            </form>
            <hr />
            <${Retire} model=${model} onChange=${onChange} />
            <${Remove} model=${model} onClose=${onClose} />
        <//>`;
}

/** @param {{model: any, onChange: (model: any) => void}} properties */
function Retire({model, onChange}) {
    const [problem, work] = useWork();
    const act = () => work(async () => onChange(await post(`models/${model.id}/${model.retired ? "restore" : "retire"}`)));
    return html`<div class="row top"><button onClick=${act}>${t(model.retired ? "model.restore" : "model.retire")}</button>
        <span class="small soft">${t(model.retired ? "model.restoreWhat" : "model.retireWhat")}</span></div><${Wrong} problem=${problem} />`;
}

/** @param {{model: any, onClose: () => void}} properties */
function Remove({model, onClose}) {
    const [sure, setSure] = useState(false);
    const [problem, work] = useWork();
    const forget = (/** @type {boolean} */ trash) => work(async () => {
        await remove(`models/${model.id}?trash=${trash}`);
        onClose();
        go("models");
    });
    return html`
        ${sure ? html`
            <p>${t("model.removeWhat", {name: model.name})}</p>
            <div class="row"><button onClick=${() => forget(false)}>${t("model.removeKeep")}</button>
                <button class="danger" onClick=${() => forget(true)}>${t("model.removeTrash")}</button>
                <button class="quiet" onClick=${() => setSure(false)}>${t("cancel")}</button></div>
            <${Wrong} problem=${problem} />`
            : html`<button class="quiet" onClick=${() => setSure(true)}>${t("model.remove")}</button>`}`;
}
