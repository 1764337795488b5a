// One of two products that are compared: by a description, of a catalogue, or a photo.

import {useEffect, useState} from "preact/hooks";
import {get, request} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";
import {asLora, loraNames, LoraFields} from "./lora_fields.js";
import {Wrong} from "./message.js";
import {useWork} from "./work.js";

const FROM = ["words", "catalogue", "photo"];
const MOST = 200;
const PAUSE = 250;

/** @param {{title: string, id: string, side: any, onSet: (side: any) => void}} properties */
export function SideCard({title, id, side, onSet}) {
    const set = (/** @type {any} */ change) => onSet({...side, ...change});
    return html`<section class="card stack" aria-label=${title}><h2>${title}</h2>
        <label>${t("comparison.from")}<select value=${side.from} onChange=${typed((from) => set({from}))}>
            ${FROM.map((from) => html`<option value=${from}>${t(`comparison.from.${from}`)}</option>`)}</select></label>
        ${side.from === "catalogue" && html`<${OfCatalogue} side=${side} set=${set} />`}
        ${side.from === "photo" && html`<${Photo} side=${side} set=${set} />`}
        ${side.from === "words" && html`<label>${t("comparison.prompt")}<textarea rows="2" maxlength="4000" value=${side.prompt} onInput=${typed((prompt) => set({prompt}))}></textarea></label>`}
        <label>${t("comparison.name")}<input value=${side.name} maxlength="200" autocomplete="off" onInput=${typed((name) => set({name}))} /></label>
        ${side.from !== "photo" && html`<div><div class="row tight"><span>${t("lora.name")}</span><${LoraFields} id=${id} lora=${side.lora} onChange=${(lora) => set({lora, ...(lora.name ? {} : {further: []})})} /></div>
            ${side.further.length > 0 && html`<span class="small soft">+ ${loraNames(side.further.map((one) => asLora(one)))}</span>`}
            ${side.from === "catalogue" && html`<span class="small soft">${t("comparison.ownLoras")}</span>`}</div>`}
    </section>`;
}

function OfCatalogue({side, set}) {
    const [catalogues, setCatalogues] = useState(/** @type {any[]} */ ([]));
    const [products, setProducts] = useState(/** @type {any[]} */ ([]));
    const [search, setSearch] = useState("");
    useEffect(() => {
        attempt(async () => setCatalogues((await get("catalogues")).items));
    }, []);
    useEffect(() => {
        if (!side.catalogue) return undefined;
        let current = true;
        const look = () => attempt(() => get(`catalogues/${side.catalogue}/products?limit=${MOST}&search=${encodeURIComponent(search)}`))
            .then((found) => current && found && setProducts(found.items));
        // Not at every letter.
        const timer = setTimeout(look, search ? PAUSE : 0);
        return () => {
            current = false;
            clearTimeout(timer);
        };
    }, [side.catalogue, search]);
    const chosen = products.find((one) => one.sku === side.product);
    return html`
        <label>${t("comparison.catalogue")}<select value=${side.catalogue} onChange=${typed((catalogue) => set({catalogue, product: ""}))}><option value="">${t("comparison.choose")}</option>
            ${catalogues.map((one) => html`<option value=${one.id}>${one.name || t("catalogues.nameless")}</option>`)}</select></label>
        ${side.catalogue && html`
            <label>${t("comparison.search")}<input type="search" value=${search} onInput=${typed(setSearch)} /></label>
            <label>${t("comparison.product")}<select value=${side.product} onChange=${typed((product) => set({product}))}><option value="">${t("comparison.choose")}</option>
                ${side.product && !chosen && html`<option value=${side.product}>${side.product}</option>`}
                ${products.map((one) => html`<option value=${one.sku}>${[one.sku, one.title].filter(Boolean).join(" · ")}</option>`)}</select></label>
            ${products.length === MOST && html`<p class="small soft">${t("comparison.first", {count: MOST})}</p>`}
            ${chosen && html`<p class="small soft">${[chosen.prompt, loraNames(chosen.loras)].filter(Boolean).join(" · ")}</p>`}
            ${chosen && chosen.photo && html`<label class="check"><input type="checkbox" checked=${side.draw} onChange=${() => set({draw: !side.draw})} /> ${t("comparison.drawPhoto")}</label>`}`}`;
}

function Photo({side, set}) {
    const [sending, setSending] = useState(false);
    const [problem, work] = useWork();
    const take = async (/** @type {any} */ event) => {
        const [file] = event.target.files;
        if (!file) return;
        setSending(true);
        await work(async () => {
            const {photo} = await request("PUT", `comparisons/photos/${encodeURIComponent(file.name)}`, file);
            set({photo, mask: "", file: file.name});
        });
        setSending(false);
    };
    return html`<label>${t("comparison.photo")}<input type="file" accept="image/*" onChange=${take} /></label>
        ${sending ? html`<p class="small soft" role="status">${t("comparison.sending")}</p>` : side.file && html`<p class="small soft" role="status">${t("comparison.there", {name: side.file})}</p>`}
        <${Wrong} problem=${problem} />`;
}
