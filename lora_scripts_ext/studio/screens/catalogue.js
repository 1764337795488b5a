// One catalogue: its head, and the steps from a product list to what is handed over.

import {useCallback, useEffect, useRef, useState} from "preact/hooks";
import {get, Problem} from "../api.js";
import {html} from "../html.js";
import {lazy} from "../lazy.js";
import {attempt, isOpen, jobs, link, online} from "../state.js";
import {t} from "../words.js";

/** @type {Record<string, (properties: any) => any>} */
const STEPS = {
    products: lazy(() => import("./products.js").then(({Products}) => Products), "products", "catalogues", "images", "new"),
    choose: lazy(() => import("./choose.js").then(({Choose}) => Choose), "choose", "catalogues", "images", "copy"),
    handover: lazy(() => import("./handover.js").then(({Handover}) => Handover), "handover", "catalogues", "copy"),
};
const EditCatalogue = lazy(() => import("./edit_catalogue.js").then(({EditCatalogue}) => EditCatalogue), "catalogues");
// What is drawn, and what another browser changes, shows up here.
const PERIOD = 4000;

/** @param {{id: string, rest: string[]}} properties `rest`: the step */
export function Catalogue({id, rest}) {
    const [catalogue, setCatalogue] = useState(/** @type {any} */ (null));
    const [gone, setGone] = useState(/** @type {Problem | null} */ (null));
    const opened = useRef("");
    const own = catalogue ? [catalogue.job, catalogue.export, catalogue.writing].filter(Boolean).map((job) => job.id) : [];
    const stand = (jobs.value || []).filter((job) => own.includes(job.id)).map((job) => job.state).join();
    const refresh = useCallback(() => attempt(async () => {
        try {
            setCatalogue(await get(`catalogues/${id}`));
        } catch (error) {
            if (!(error instanceof Problem) || error.code !== "not_found") throw error;
            setGone(error);
        }
    }), [id]);
    useEffect(() => {
        refresh();
        const timer = setInterval(() => document.hidden || refresh(), PERIOD);
        return () => clearInterval(timer);
    }, [refresh, stand]);
    if (gone) return html`<p class="error" role="alert">${gone.message}</p><p><a href=${link("catalogues")}>${t("catalogues.title")}</a></p>`;
    if (!catalogue) return html`<p class="soft">${t("loading")}</p>`;
    // The step that was next when the catalogue was opened: another one is gone to, not shown by itself.
    if (!(rest[0] in STEPS)) opened.current = opened.current || first(catalogue);
    const step = rest[0] in STEPS ? rest[0] : opened.current;
    const Step = STEPS[step];
    return html`<${Head} catalogue=${catalogue} step=${step} onChange=${setCatalogue} />
        <${Step} catalogue=${catalogue} path=${`catalogues/${id}`} refresh=${refresh} onChange=${setCatalogue} />`;
}

/** @param {any} catalogue @returns {string} the step that is next */
function first({counts, candidates}) {
    if (!candidates.drawn && !candidates.failed) return "products";
    return counts.approved > 0 && !counts.drawn && !counts.waiting ? "handover" : "choose";
}

function Head({catalogue, step, onChange}) {
    const [editing, setEditing] = useState(false);
    const {counts, candidates, products, job} = catalogue;
    /** @type {Record<string, boolean>} */
    const done = {
        products: candidates.drawn > 0, choose: counts.approved > 0 && !counts.drawn && !counts.waiting,
        handover: Boolean(catalogue.manifest && catalogue.export && catalogue.export.state === "done"),
    };
    return html`
        <div class="row"><div><h1>${catalogue.name || t("catalogues.nameless")}</h1>
            <span class="soft">${[t("catalogues.products", {count: products}), candidates.drawn > 0 && t("catalogues.drawn", {count: candidates.drawn}),
                job && isOpen(job) && t("catalogue.drawing")].filter(Boolean).join(" · ")}</span></div>
            <span class="space"></span><button onClick=${() => setEditing(true)}>${t("catalogue.edit")}</button></div>
        ${editing && html`<${EditCatalogue} catalogue=${catalogue} onChange=${onChange} onClose=${() => setEditing(false)} />`}
        <nav class="steps" aria-label=${catalogue.name}>
            ${Object.keys(STEPS).map((name, index) => html`
                <a href=${link("catalogues", catalogue.id, name)} class=${[name === step && "on", done[name] && "done"].filter(Boolean).join(" ")}
                    aria-current=${name === step ? "step" : undefined}>
                    <i aria-hidden="true">${done[name] ? "✓" : index + 1}</i>${t(`catalogue.${name}`)}
                    ${done[name] && html`<span class="hidden">${t("tab.done")}</span>`}</a>`)}
        </nav>`;
}
