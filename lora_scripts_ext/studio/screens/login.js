// Where a key is needed: asked for once, then kept by the browser in a cookie that no script reads.

import {useState} from "preact/hooks";
import {locked, post} from "../api.js";
import {html, typed} from "../html.js";
import {Field, tied} from "../parts/field.js";
import {useWork} from "../parts/work.js";
import {refreshJobs, refreshSession, refreshSystem} from "../state.js";
import {t} from "../words.js";

export function Login() {
    const [key, setKey] = useState("");
    const [problem, work] = useWork();
    const login = (/** @type {Event} */ event) => {
        event.preventDefault();
        return work(async () => {
            await post("session", {key: key.trim()});
            locked.value = false;
            await Promise.all([refreshJobs(), refreshSystem(), refreshSession()]);
        });
    };
    return html`
        <form class="card login" onSubmit=${login}>
            <h1>LoRA Trainer</h1>
            <${Field} id="key" label=${t("login.key")} hint=${t("login.hint")} error=${problem ? problem.message : undefined}>
                <input ...${tied("key", problem?.message)} type="password" autocomplete="current-password" value=${key}
                    onInput=${typed(setKey)} />
            <//>
            <div class="row end"><button class="main" disabled=${!key.trim()}>${t("login.enter")}</button></div>
        </form>`;
}
