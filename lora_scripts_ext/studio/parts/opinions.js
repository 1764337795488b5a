// What people have said about a product's candidates, and a field for what is to be said.

import {useState} from "preact/hooks";
import {get} from "../api.js";
import {html, typed} from "../html.js";
import {attempt} from "../state.js";
import {moment, t} from "../words.js";

export function Opinions({product, one, choosing, path}) {
    const [comment, setComment] = useState("");
    const [items, setItems] = useState(/** @type {any[] | null} */ (null));
    const load = () => attempt(async () => setItems((await get(`${path}/products/${product.id}/decisions`)).items));
    const say = async (/** @type {Event} */ event) => {
        event.preventDefault();
        if (!comment.trim() || !await choosing.comment(product, one, comment)) return;
        setComment("");
        if (items) await load();
    };
    return html`<form class="row tight" onSubmit=${say}>
            <input class="grow" aria-label=${t("choose.comment")} placeholder=${t("choose.comment")} value=${comment} maxlength="2000" onInput=${typed(setComment)} />
            <button disabled=${!comment.trim()}>${t("choose.say")}</button>
            <button type="button" class="quiet" aria-expanded=${items !== null} onClick=${() => (items ? setItems(null) : load())}>${t("choose.said")}</button></form>
        ${items && html`<ul class="said">${items.length === 0 && html`<li class="soft small">${t("choose.nothing")}</li>`}${items.map((said) => html`<li key=${said.id}>
            <b>${said.who}</b> <span class="small soft">${[t("choose.image", {number: said.number}), t(`choose.verdict.${said.verdict}`), moment(said.at)].join(" · ")}</span>
            ${said.comment && html`<p class="wrap">${said.comment}</p>`}</li>`)}</ul>`}`;
}
