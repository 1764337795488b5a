// Titles and selling points for products that have none, written by a service that the operator has named.

import {useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {attempt, isOpen, jobs, refreshJobs} from "../state.js";
import {t} from "../words.js";
import {Wrong} from "./message.js";
import {Progress} from "./progress.js";
import {useWork} from "./work.js";

const SHOWN = 8;

/** @param {{catalogue: any, path: string, refresh: () => Promise<unknown>}} properties nothing is shown where there is no service */
export function CopyCard({catalogue, path, refresh}) {
    const [services, setServices] = useState(/** @type {{name: string, url: string}[]} */ ([]));
    const [service, setService] = useState("");
    const [language, setLanguage] = useState("zh");
    const [problem, work] = useWork();
    useEffect(() => {
        attempt(async () => setServices((await get("settings")).endpoints));
    }, []);
    if (!services.length) return null;
    const chosen = services.find((one) => one.name === service) || services[0];
    const known = (jobs.value || []).find((one) => catalogue.writing && one.id === catalogue.writing.id);
    const job = known || catalogue.writing;
    const running = Boolean(job && isOpen(job));
    const begin = () => work(async () => {
        await post(`${path}/copy`, {service: chosen.name, language});
        await Promise.all([refreshJobs(), refresh()]);
    });
    const stop = () => work(async () => {
        await post(`jobs/${job.id}/${job.state === "queued" ? "cancel" : "stop"}`);
        await Promise.all([refreshJobs(), refresh()]);
    });
    const result = !running && job && job.result && job.result.written !== undefined ? job.result : null;
    return html`<section class="card stack" aria-label=${t("copy.title")}><h2>${t("copy.title")}</h2>
        <p class="small">${t("copy.what", {url: chosen.url})}</p>
        ${services.length > 1 && html`<label>${t("copy.service")}<select value=${chosen.name} onChange=${typed(setService)}>${services.map((one) => html`<option value=${one.name}>${one.name}</option>`)}</select></label>`}
        <label>${t("copy.language")}<select value=${language} onChange=${typed(setLanguage)}>${["zh", "en"].map((one) => html`<option value=${one}>${t(`copy.language.${one}`)}</option>`)}</select></label>
        ${running ? html`<${Progress} job=${job} /><button onClick=${stop}>${t("copy.stop")}</button>` : html`<button disabled=${!catalogue.products} onClick=${begin}>${t("copy.begin")}</button>`}
        <${Wrong} problem=${problem} />
        ${!running && job && job.state === "failed" && html`<p class="error small" role="alert">${job.reason}</p>`}
        ${result && html`<p class="small" role="status">${t("copy.written", {count: result.written})}</p>
            <ul class="plain small">${[...result.problems, ...result.warnings].slice(0, SHOWN).map((text) => html`<li class="warning">${text}</li>`)}</ul>`}
    </section>`;
}
