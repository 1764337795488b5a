// The page: its frame, and which screen is shown in it.

import {render} from "preact";
import {useEffect, useRef} from "preact/hooks";
import {locked, remove} from "./api.js";
import {html} from "./html.js";
import {attempt, keyed, link, online, queue, route, start, system} from "./state.js";
import {lazy} from "./lazy.js";
import {language, ready, speak, t} from "./words.js";
import {Models} from "./screens/models.js";

const Login = lazy(() => import("./screens/login.js").then(({Login}) => Login), "login");

/** @type {Record<string, (properties: {rest: string[]}) => any>} the first part of the address -> screen */
const SCREENS = {
    models: Models,
    catalogues: lazy(() => import("./screens/catalogues.js").then(({Catalogues}) => Catalogues), "catalogues"),
    queue: lazy(() => import("./screens/queue.js").then(({Queue}) => Queue), "queue"),
    settings: lazy(() => import("./screens/settings.js").then(({Settings}) => Settings), "settings"),
};
/** @type {Record<string, (properties: {rest: string[]}) => any>} those that the navigation does not list */
const BEHIND = {
    model: lazy(() => import("./screens/model.js").then(({Model}) => Model)),
    comparison: lazy(() => import("./screens/comparison.js").then(({Comparison}) => Comparison), "comparison", "catalogues", "products"),
};
/** @type {Record<string, string>} a screen -> the one of the navigation that it belongs to; else that is the models */
const BELONGS = {comparison: "catalogues"};

function App() {
    const [first = "models", ...rest] = route.value;
    const Screen = SCREENS[first] || BEHIND[first] || Models;
    const main = useRef(/** @type {HTMLElement | null} */ (null));
    const where = route.value.join("/");
    const current = first in SCREENS ? first : BELONGS[first] || "models";
    useEffect(() => {
        document.title = `${t(`nav.${current}`)} · LoRA Trainer`;
    }, [where, language.value]);
    if (locked.value) return html`<main><${Login} /></main>`;
    // Drawn again when the language changes: the texts of the server are fetched in it.
    return html`
        <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => {
            event.preventDefault();
            main.current?.focus();
        }}>${t("skip")}</a>
        <${Header} current=${current} />
        ${!online.value && html`<p class="strip bad" role="alert">${t("offline")}</p>`}
        <main id="main" ref=${main} tabindex="-1"><${Screen} key=${language.value} rest=${rest} /></main>`;
}

/** @param {{current: string}} properties */
function Header({current}) {
    const counts = queue.value ? queue.value.counts : {};
    const waiting = ["queued", "starting", "running", "stopping"].reduce((sum, state) => sum + (counts[state] || 0), 0);
    const other = language.value === "zh" ? "en" : "zh";
    return html`
        <header>
            <b>LoRA Trainer</b>
            <nav aria-label=${t("nav.main")}>
                ${Object.keys(SCREENS).map((name) => html`
                    <a href=${link(name)} class=${name === current ? "on" : ""} aria-current=${name === current ? "page" : undefined}>
                        ${t(`nav.${name}`)} ${name === "queue" && waiting > 0 && html`<span class="pill">${waiting}</span>`}
                    </a>`)}
            </nav>
            <span class="space"></span>
            <${Machine} />
            <button class="quiet" lang=${other === "zh" ? "zh-CN" : "en"} onClick=${() => speak(other)}>${t("language.other")}</button>
            ${keyed.value && html`<button class="quiet" onClick=${leave}>${t("logout")}</button>`}
        </header>`;
}

async function leave() {
    await attempt(() => remove("session"));
    keyed.value = false;
    locked.value = online.value;
}

function Machine() {
    const found = system.value;
    if (!found) return null;
    const model = (found.base_model || "").split(/[\\/]/).pop();
    return html`<span class="pill grey machine" title=${found.base_model}>${[model, found.device.name].filter(Boolean).join(" · ")}</span>`;
}

const theme = new URLSearchParams(location.search).get("theme");
if (theme) document.documentElement.dataset.theme = theme;
ready.then(() => {
    start();
    render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
});
