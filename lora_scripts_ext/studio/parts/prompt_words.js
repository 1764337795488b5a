// How prompts are worded: the shop's own glossary, and its own templates.

import {useEffect, useState} from "preact/hooks";
import {get, request} from "../api.js";
import {html} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";
import {FileButton} from "./file_button.js";
import {Glossary} from "./glossary.js";
import {Wrong} from "./message.js";
import {Templates} from "./templates.js";
import {useWork} from "./work.js";

/** @type {Record<string, {accept: string, member: string}>} */
const KINDS = {glossary: {accept: ".yaml,.yml,.csv,.tsv,.txt", member: "terms"}, templates: {accept: ".yaml,.yml", member: "templates"}};

/**
 * @param {{catalogue: any, path: string, checked: any, onSet: (values: Record<string, unknown>) => unknown, onSent: () => Promise<unknown>}} properties
 *     `onSent`: called when a file has taken the place of what is written here
 */
export function PromptWords({catalogue, path, checked, onSet, onSent}) {
    const part = (/** @type {string} */ kind, /** @type {any} */ Editor) => html`<${Kept} kind=${kind} path=${path} onSent=${onSent}
        editor=${(/** @type {any} */ value, /** @type {(value: any) => void} */ put) => html`<${Editor} value=${value} catalogue=${catalogue} checked=${checked}
            onPut=${(/** @type {any} */ changed) => {
                put(changed);
                return onSet({[kind]: {[KINDS[kind].member]: changed}});
            }} />`} />`;
    return html`<section class="card stack" aria-label=${t("wording.title")}>
        <div><h2>${t("wording.title")}</h2><p class="small soft">${t("wording.what")}</p></div>
        ${part("glossary", Glossary)}${part("templates", Templates)}
    </section>`;
}

// What the server has of a kind, its editor, and a file in its place.
function Kept({kind, path, editor, onSent}) {
    const {accept, member} = KINDS[kind];
    const [value, setValue] = useState(/** @type {any} */ (null));
    const [file, setFile] = useState(0);
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(() => get(`${path}/${kind}`)).then((found) => found && setValue(found[member]));
    }, []);
    const send = (/** @type {File} */ sent) => work(async () => {
        setValue((await request("PUT", `${path}/${kind}/${encodeURIComponent(sent.name)}`, sent))[member]);
        setFile(file + 1);
        await onSent();
    });
    return html`<details class="wording"><summary><b>${t(`wording.${kind}`)}</b> ${value !== null && html`<span class="soft small">${t(`wording.${kind}Count`, {count: value.length ?? Object.keys(value).length})}</span>`}</summary>
        <div class="stack" key=${file}><p class="small soft">${t(`wording.${kind}What`)}</p>
            ${value !== null && editor(value, setValue)}
            <div class="row tight"><span class="small soft">${t("wording.orFile")}</span><${FileButton} label=${t(`wording.${kind}File`)} accept=${accept} onFile=${send} /></div>
            <${Wrong} problem=${problem} /></div></details>`;
}
