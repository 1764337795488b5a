// What a catalogue is called, changed; and the way to let it go.

import {useState} from "preact/hooks";
import {patch, remove} from "../api.js";
import {html, typed} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {Wrong} from "../parts/message.js";
import {useWork} from "../parts/work.js";
import {go} from "../state.js";
import {t} from "../words.js";

/** @param {{catalogue: any, onChange: (catalogue: any) => void, onClose: () => void}} properties */
export function EditCatalogue({catalogue, onChange, onClose}) {
    const [name, setName] = useState(catalogue.name);
    const [problem, work] = useWork();
    const save = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            onChange(await patch(`catalogues/${catalogue.id}`, {name: name.trim()}));
            onClose();
        });
    };
    return html`<${Dialog} title=${t("catalogue.edit")} onClose=${onClose}><form onSubmit=${save}>
            <${Field} id="name" label=${t("catalogues.name")} hint=${t("catalogues.nameHint")}>
                <input ...${tied("name")} value=${name} required maxlength="200" autocomplete="off" onInput=${typed(setName)} /><//>
            <${Wrong} problem=${problem} />
            <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button><button class="main">${t("catalogue.save")}</button></div>
        </form>
        <hr />
        <${Remove} catalogue=${catalogue} /><//>`;
}

/** @param {{catalogue: any}} properties */
function Remove({catalogue}) {
    const [sure, setSure] = useState(false);
    const [problem, work] = useWork();
    const forget = () => work(async () => {
        await remove(`catalogues/${catalogue.id}`);
        go("catalogues");
    });
    if (!sure) return html`<button class="quiet" onClick=${() => setSure(true)}>${t("catalogue.remove")}</button>`;
    return html`<p>${t("catalogue.removeWhat", {name: catalogue.name || t("catalogues.nameless"), count: catalogue.products})}</p>
        <${Wrong} problem=${problem} />
        <div class="row"><button class="danger" onClick=${forget}>${t("catalogue.removeGo")}</button>
            <button class="quiet" onClick=${() => setSure(false)}>${t("cancel")}</button></div>`;
}
