// What people say of a version: approved, rejected, a comment, or a request to look at it; who, and when.

import {useCallback, useEffect, useState} from "preact/hooks";
import {get, post} from "../api.js";
import {html, typed} from "../html.js";
import {attempt, keyed} from "../state.js";
import {moment, t} from "../words.js";
import {Wrong} from "./message.js";
import {Verdict} from "./pill.js";
import {sign, signature} from "./signature.js";
import {useWork} from "./work.js";

export function Decisions({path, version, place, name, onChange}) {
    const [items, setItems] = useState(/** @type {any[]} */ ([]));
    const [comment, setComment] = useState("");
    const [who, setWho] = useState(signature());
    const [problem, work] = useWork();
    const load = useCallback(async () => {
        const found = await attempt(() => get(`${path}/decisions`));
        if (found) setItems(found.items);
    }, [path]);
    useEffect(() => {
        load();
    }, [load, version.review?.at]);
    const decide = (/** @type {string} */ verdict) => work(async () => {
        sign(who);
        await post(`${path}/decisions`, {verdict, comment, who, ...(place?.checkpoint ? place : {})});
        setComment("");
        await Promise.all([load(), onChange()]);
    });
    const {state = "none"} = version.review || {};
    return html`<section class="card stack" aria-label=${t("decide.title")}>
        <h2>${t("decide.title")} ${state !== "none" && html`<${Verdict} verdict=${state} />`}</h2>
        <p class="small soft">${place?.checkpoint ? name(place) : t("decide.whole", {count: version.number})}</p>
        ${!keyed.value && html`<input aria-label=${t("decide.who")} placeholder=${t("decide.who")} value=${who} maxlength="100" autocomplete="name" onInput=${typed(setWho)} />`}
        <textarea rows="2" aria-label=${t("decide.comment")} placeholder=${t("decide.comment")} value=${comment} maxlength="2000" onInput=${typed(setComment)}></textarea>
        <div class="row tight">
            <button onClick=${() => decide("approved")}>✓ ${t("decide.approve")}</button>
            <button onClick=${() => decide("rejected")}>✕ ${t("decide.reject")}</button>
            <button disabled=${!comment.trim()} onClick=${() => decide("comment")}>${t("decide.say")}</button>
            <button onClick=${() => decide("requested")}>${t("decide.request")}</button></div>
        <${Wrong} problem=${problem} />
        ${items.length > 0 && html`<ul class="said">${items.map((one) => html`<li key=${one.id}>
            <${Verdict} verdict=${one.verdict} />${" "}<b>${one.who}</b>
            <span class="small soft"> ${[one.checkpoint && name(one), moment(one.at)].filter(Boolean).join(" · ")}</span>
            ${one.comment && html`<p class="wrap">${one.comment}</p>`}</li>`)}</ul>`}
    </section>`;
}
