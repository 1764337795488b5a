// The page: its frame, and which screen is shown in it.

import {render} from "preact";
import {html} from "./html.js";
import {link, online, queue, route, start, system} from "./state.js";
import {language, speak, t} from "./words.js";
import {Model} from "./screens/model.js";
import {Models} from "./screens/models.js";
import {Queue} from "./screens/queue.js";

/** @type {Record<string, (properties: {rest: string[]}) => any>} the first part of the address -> screen */
const SCREENS = {models: Models, queue: Queue};
/** @type {Record<string, (properties: {rest: string[]}) => any>} those that the navigation does not list */
const BEHIND = {model: Model};

function App() {
    const [first = "models", ...rest] = route.value;
    const Screen = SCREENS[first] || BEHIND[first] || Models;
    return html`
        <${Header} current=${first in SCREENS ? first : "models"} />
        ${!online.value && html`<p class="strip bad" role="alert">${t("offline")}</p>`}
        <main tabindex="-1"><${Screen} rest=${rest} /></main>`;
}

/** @param {{current: string}} properties */
function Header({current}) {
    const waiting = queue.value ? (queue.value.counts.queued || 0) + (queue.value.counts.running || 0) : 0;
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
        </header>`;
}

function Machine() {
    const found = system.value;
    if (!found) return null;
    const model = (found.base_model || "").split(/[\\/]/).pop();
    return html`<span class="pill ok">${[model, found.device.name].filter(Boolean).join(" · ")}</span>`;
}

const theme = new URLSearchParams(location.search).get("theme");
if (theme) document.documentElement.dataset.theme = theme;
speak(language.value);
start();
render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
