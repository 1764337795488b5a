// Choosing: a row a product, its candidates side by side, decided about with the keyboard or by hand.

import {useEffect, useRef, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {CandidateDialog} from "../parts/candidate_dialog.js";
import {useChoosing} from "../parts/choosing.js";
import {Wrong} from "../parts/message.js";
import {Bar} from "../parts/pill.js";
import {ProductRow, shown} from "../parts/product_row.js";
import {SignatureField} from "../parts/signature_field.js";
import {useProducts} from "../parts/product_pages.js";
import {attempt, link, refreshJobs} from "../state.js";
import {t} from "../words.js";

const STATES = ["drawn", "approved", "rejected", "failed", "unmatched", "ready", "waiting"];
const PERIOD = 2500;
const AHEAD = 600;
const AT_ONCE = 200;
const MARGIN = 10;

/** @param {{catalogue: any, path: string, refresh: () => Promise<unknown>}} properties */
export function Choose({catalogue, path, refresh}) {
    const {counts} = catalogue;
    const [filter, setFilter] = useState({state: counts.drawn > 0 ? "drawn" : "", category: "", search: ""});
    const products = useProducts(path, filter);
    const choosing = useChoosing(path, products.put, refresh);
    // The product that keys are for, and which of its candidates.
    const [place, setPlace] = useState({index: 0, at: 0});
    const [large, setLarge] = useState(/** @type {"" | "large" | "crop"} */ (""));
    const items = products.items || [];
    const product = items[place.index];
    const candidate = product && shown(product)[place.at];
    useEffect(() => setPlace({index: 0, at: 0}), [filter]);
    useEffect(() => {
        if (!counts.waiting) return undefined;
        const timer = setInterval(() => document.hidden || products.renew(place.index), PERIOD);
        return () => clearInterval(timer);
    });
    const goTo = (/** @type {number} */ index, at = 0) => {
        setPlace({index, at});
        requestAnimationFrame(() => focusRow(index));
    };
    const next = async () => {
        let index = items.findIndex((one, where) => where > place.index && one.state === "drawn");
        for (let seen = items.length; index < 0;) {
            const came = await products.more();
            if (!came.length) return;
            index = came.findIndex((one) => one.state === "drawn");
            if (index >= 0) index += seen;
            seen += came.length;
        }
        goTo(index);
    };
    const chooseNumber = (/** @type {number} */ number) => {
        const one = product && product.candidates.find((each) => each.number === number);
        if (one && one.state === "drawn") choosing.choose(product, one);
    };
    const open = (/** @type {"large" | "crop"} */ how) => candidate && candidate.state === "drawn" && setLarge(how);
    const step = (/** @type {number} */ by) => product && setPlace({...place, at: Math.max(0, Math.min(shown(product).length - 1, place.at + by))});
    const move = (/** @type {number} */ by) => {
        const index = Math.max(0, Math.min(items.length - 1, place.index + by));
        if (index === items.length - 1) products.more();
        if (items.length) goTo(index);
    };
    /** @type {Record<string, () => unknown>} */
    const keys = {
        ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
        Enter: next, z: () => open("large"), " ": () => open("large"), c: () => open("crop"), u: choosing.undo,
        0: () => product && choosing.reject(product), r: () => product && choosing.reject(product),
        g: () => product && product.matched && choosing.more(product),
    };
    useKeys(keys, chooseNumber, large !== "");
    const row = (one, index) => html`<${ProductRow} key=${one.id} product=${one} path=${path} choosing=${choosing} current=${index === place.index}
        at=${index === place.index ? place.at : -1} onEnter=${(/** @type {number} */ at) => setPlace({index, at})}
        onLarge=${() => open("large")} onCrop=${() => open("crop")} />`;
    return html`
        <${Top} catalogue=${catalogue} filter=${filter} setFilter=${setFilter} choosing=${choosing} path=${path} refresh=${refresh} />
        <${Wrong} problem=${choosing.problem} />
        ${products.items === null ? html`<p class="soft">${t("loading")}</p>` : html`
            <div class="stack products" role="feed" aria-label=${t("catalogue.products")} aria-busy="false">${items.map(row)}</div>
            ${items.length === 0 && html`<${Nothing} catalogue=${catalogue} filter=${filter} />`}
            ${products.hasMore && html`<${End} key=${items.length} onReached=${products.more} />`}`}
        ${large && candidate && html`<${CandidateDialog} key=${large} product=${product} one=${candidate} at=${place.at} count=${shown(product).length} crop=${large === "crop"}
            onStep=${step} onChoose=${chooseNumber} onCrop=${async (/** @type {number[] | null} */ crop) => {
                if (await choosing.crop(product, candidate, crop)) setLarge("");
            }} onClose=${() => {
                setLarge("");
                requestAnimationFrame(() => focusRow(place.index));
            }} />`}`;
}

/** @param {number} index of the row that is focused and seen */
function focusRow(index) {
    const row = /** @type {HTMLElement | undefined} */ (document.querySelectorAll("article.product")[index]);
    const bar = document.querySelector(".choose-top");
    if (!row || !bar) return;
    row.focus({preventScroll: true});
    const top = bar.getBoundingClientRect().bottom + MARGIN;
    scrollBy({top: row.getBoundingClientRect().top - top});
}

/**
 * @param {Record<string, () => unknown>} keys @param {(number: number) => unknown} digit called with 1 to 9
 * @param {boolean} off while a dialog has the keys
 */
function useKeys(keys, digit, off) {
    const newest = useRef({keys, digit, off});
    newest.current = {keys, digit, off};
    useEffect(() => {
        const listen = (/** @type {KeyboardEvent} */ event) => {
            const now = newest.current;
            if (now.off || event.altKey || event.metaKey || event.defaultPrevented) return;
            const target = /** @type {HTMLElement} */ (event.target);
            if (target.closest("input, textarea, select, dialog, [contenteditable]")) return;
            // Enter and the space bar are a button's own.
            if (target.closest("button, a, summary") && ["Enter", " "].includes(event.key)) return;
            const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
            if (event.ctrlKey && key !== "z") return;
            const work = event.ctrlKey ? now.keys.u : /^[1-9]$/.test(key) ? () => now.digit(Number(key)) : now.keys[key];
            if (!work) return;
            event.preventDefault();
            work();
        };
        // Behind a click Enter and the space bar are for what is chosen next, not for the same button once more.
        const clicked = (/** @type {MouseEvent} */ event) => {
            const target = /** @type {HTMLElement} */ (event.target);
            if (event.detail === 0 || !target.closest("button") || target.closest("form, dialog, .editing")) return;
            /** @type {HTMLElement | null} */ (target.closest("article.product"))?.focus({preventScroll: true});
            if (target.closest(".choose-top")) /** @type {HTMLElement} */ (document.activeElement).blur();
        };
        addEventListener("keydown", listen);
        addEventListener("click", clicked);
        return () => {
            removeEventListener("keydown", listen);
            removeEventListener("click", clicked);
        };
    }, []);
}

function Top({catalogue, filter, setFilter, choosing, path, refresh}) {
    const {counts, products, categories, job} = catalogue;
    const decided = counts.approved + counts.rejected;
    const set = (/** @type {Record<string, string>} */ change) => setFilter({...filter, ...change});
    const of = {...counts, "": products};
    const step = choosing.undoable;
    return html`<div class="choose-top">
        <div class="row filters" role="group" aria-label=${t("choose.show")}>
            ${["", ...STATES].filter((state) => !state || state === filter.state || of[state] > 0 || state === "drawn").map((state) => html`
                <button key=${state} class=${state === filter.state ? "chip on" : "chip"} aria-pressed=${state === filter.state} onClick=${() => set({state})}>
                    ${t(state ? `product.${state}` : "choose.all")} ${of[state]}</button>`)}
            <span class="space"></span>
            ${categories.length > 1 && html`<select aria-label=${t("choose.category")} value=${filter.category} onChange=${typed((category) => set({category}))}>
                <option value="">${t("choose.categories")}</option>${categories.map((one) => html`<option value=${one}>${one}</option>`)}</select>`}
            <input type="search" class="search" aria-label=${t("choose.search")} placeholder=${t("choose.search")} value=${filter.search}
                onInput=${typed((search) => set({search}))} />
        </div>
        <div class="row tight"><div class="grow"><${Bar} share=${products ? decided / products : 0} label=${t("catalogues.decided", {done: decided, total: products})} /></div>
            <${SignatureField} /><span class="small soft" role="status">${t("catalogues.decided", {done: decided, total: products})}</span>
            ${filter.state === "failed" && counts.failed > 0 && html`<button onClick=${() => choosing.act(async () => {
                await retryAll(path);
                await Promise.all([refreshJobs(), refresh()]);
            })}>${t("choose.retryAll")}</button>`}
            ${step && html`<button title=${step.label} onClick=${choosing.undo}>↶ ${t("choose.undo")} <kbd>U</kbd><span class="hidden">: ${step.label}</span></button>`}
            ${!counts.drawn && !counts.waiting && counts.approved > 0 && html`<a class="button main" href=${link("catalogues", catalogue.id, "handover")}>${t("choose.next")}</a>`}
        </div>
        ${job && job.state === "failed" && html`<p class="error small" role="alert">${job.reason}</p>`}
        <div class="small soft">${t("choose.hint")} <details><summary>${t("choose.keys")}</summary><p>${t("choose.keysList")}</p></details></div>
    </div>`;
}

/** Let all that could not be drawn be drawn again. @param {string} path */
async function retryAll(path) {
    /** @type {number[]} */
    const ids = [];
    let cursor = "";
    do {
        const page = await get(`${path}/products?state=failed&limit=${AT_ONCE}&cursor=${cursor}`);
        ids.push(...page.items.map((one) => one.id));
        cursor = page.next;
    } while (cursor);
    await post(`${path}/generate`, {products: ids});
}

function Nothing({catalogue, filter}) {
    const {counts, products} = catalogue;
    if (!products || (!catalogue.candidates.drawn && !counts.waiting && !counts.failed)) {
        return html`<p class="card">${t("choose.undrawn")} <a href=${link("catalogues", catalogue.id, "products")}>${t("catalogue.products")}</a></p>`;
    }
    if (filter.state === "drawn" && !filter.category && !filter.search) {
        return html`<p class="card">${t(counts.waiting > 0 ? "choose.wait" : "choose.allDecided")}</p>`;
    }
    return html`<p class="card soft">${t("choose.none")}</p>`;
}

// More is fetched before the end is seen.
function End({onReached}) {
    const mark = useRef(/** @type {HTMLDivElement | null} */ (null));
    const reached = useRef(onReached);
    reached.current = onReached;
    useEffect(() => {
        const observer = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && reached.current(), {rootMargin: `${AHEAD}px`});
        observer.observe(/** @type {HTMLDivElement} */ (mark.current));
        return () => observer.disconnect();
    }, []);
    return html`<div ref=${mark}><button class="more" onClick=${() => attempt(onReached)}>${t("more")}</button></div>`;
}
