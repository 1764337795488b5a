// LoRA files that are there already, listed as models; they stay where and as they are.

import {useState} from "preact/hooks";
import {post} from "../api.js";
import {html, typed} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {FolderField} from "../parts/folders.js";
import {Wrong} from "../parts/message.js";
import {tagsOf} from "../parts/model_fields.js";
import {useWork} from "../parts/work.js";
import {go, KINDS, refreshJobs} from "../state.js";
import {t} from "../words.js";

export function ImportLoras({onClose}) {
    const [folder, setFolder] = useState("");
    const [kind, setKind] = useState("");
    const [tags, setTags] = useState("");
    const [problem, work] = useWork();
    const begin = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            await post("models/import", {folder: folder.trim(), ...(kind && {kind}), tags: tagsOf(tags)});
            await refreshJobs();
            onClose();
            go("queue");
        });
    };
    const wrong = problem && problem.field === "folder" ? problem.message : undefined;
    return html`<${Dialog} title=${t("import.title")} onClose=${onClose}><form onSubmit=${begin}>
        <p>${t("import.what")}</p>
        <${FolderField} value=${folder} onChange=${setFolder} error=${wrong} hint=${t("import.folderHint")} />
        <${Field} id="kind" label=${t("import.kind")} hint=${t("import.kindHint")}><select ...${tied("kind")} value=${kind} onChange=${typed(setKind)}>
            <option value="">${t("import.byFolder")}</option>${KINDS.map((one) => html`<option value=${one}>${t(`kind.${one}`)}</option>`)}</select><//>
        <${Field} id="tags" label=${t("new.tags")} hint=${t("new.tagsHint")}><input ...${tied("tags")} value=${tags} onInput=${typed(setTags)} /><//>
        <${Wrong} problem=${wrong ? null : problem} />
        <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button><button class="main">${t("import.begin")}</button></div>
    </form><//>`;
}
