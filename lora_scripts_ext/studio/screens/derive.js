// What can be made of a version: a smaller file, or a checkpoint that has it in it.

import {useState} from "preact/hooks";
import {post} from "../api.js";
import {html, typed} from "../html.js";
import {Dialog} from "../parts/dialog.js";
import {Field, tied} from "../parts/field.js";
import {Wrong} from "../parts/message.js";
import {useWork} from "../parts/work.js";
import {go, refreshJobs} from "../state.js";
import {t} from "../words.js";

const WAYS = ["resize", "into-checkpoint"];

export function Derive({model, version, onClose}) {
    const [way, setWay] = useState(WAYS[0]);
    const [values, setValues] = useState({rank: "8", weight: "1", output: ""});
    const [problem, work] = useWork();
    const make = (/** @type {Event} */ event) => {
        event.preventDefault();
        const {rank, weight, output} = values;
        return work(async () => {
            await post(`models/${model.id}/versions/${version.number}/${way}`,
                way === "resize" ? {rank: Number(rank)} : {weight: Number(weight), output: output.trim()});
            await refreshJobs();
            onClose();
            go("queue");
        });
    };
    const fields = way === "resize" ? ["rank"] : ["weight", "output"];
    const wrong = (/** @type {string} */ name) => (problem && problem.field === name ? problem.message : undefined);
    return html`<${Dialog} title=${t("derive.title", {count: version.number})} onClose=${onClose}><form class="stack" onSubmit=${make}>
        <fieldset class="stack"><legend class="hidden">${t("derive.title", {count: version.number})}</legend>${WAYS.map((one) => html`<label class="check">
            <input type="radio" name="way" checked=${way === one} onChange=${() => setWay(one)} /> ${t(`derive.${one}`)}</label>`)}</fieldset>
        ${fields.map((name) => html`<${Field} key=${name} id=${`derive-${name}`} label=${t(`derive.${name}`)} hint=${t(`derive.${name}.hint`)} error=${wrong(name)}>
            <input ...${tied(`derive-${name}`, wrong(name))} inputmode=${name === "output" ? undefined : "decimal"} value=${values[name]}
                onInput=${typed((text) => setValues({...values, [name]: text}))} /><//>`)}
        <${Wrong} problem=${problem && !fields.includes(problem.field || "") ? problem : null} />
        <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button><button class="main">${t("derive.make")}</button></div>
    </form><//>`;
}
