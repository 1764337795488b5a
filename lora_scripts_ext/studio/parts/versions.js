// The versions of a model: where each came from, its figures, what people say of it, whether it is in use.

import {useEffect, useState} from "preact/hooks";
import {address, get} from "../api.js";
import {html} from "../html.js";
import {lazy} from "../lazy.js";
import {attempt, link} from "../state.js";
import {day, t} from "../words.js";
import {strengthText} from "./checkpoint.js";
import {Verdict} from "./pill.js";

const Derive = lazy(() => import("../screens/derive.js").then(({Derive}) => Derive), "library");

/** @param {{model: any, stamp: string}} properties `stamp` changes when there may be more */
export function Versions({model, stamp}) {
    const [versions, setVersions] = useState(/** @type {any[]} */ ([]));
    const [chosen, setChosen] = useState(/** @type {any} */ (null));
    useEffect(() => {
        let current = true;
        attempt(() => get(`models/${model.id}/versions`)).then((found) => current && found && setVersions(found.items));
        return () => {
            current = false;
        };
    }, [model.id, model.changed, stamp]);
    if (!versions.length) return null;
    const newest = [...versions].sort((one, other) => other.number - one.number);
    return html`<section class="card" aria-label=${t("versions.title")}><h2>${t("versions.title")}</h2><ul class="said">
        ${newest.map((one) => html`<${Version} key=${one.id} model=${model} version=${one} versions=${versions} onDerive=${() => setChosen(one)} />`)}</ul>
        ${chosen && html`<${Derive} model=${model} version=${chosen} onClose=${() => setChosen(null)} />`}</section>`;
}

function Version({model, version, versions, onDerive}) {
    const {number, facts, origin, created} = version;
    const parent = versions.find((one) => one.id === version.parent);
    const from = origin === "merge" ? (facts.lineage?.parts || []).map(part).join(" + ") : parent && t("models.versions", {count: parent.number});
    const rank = facts.ranks ? Math.max(...facts.ranks) : facts.config?.lora_rank;
    const best = least(facts.held_out || []);
    const figures = [
        facts.steps && t("versions.steps", {steps: facts.steps}), rank && t("versions.rank", {rank}),
        best && t("versions.heldOut", {loss: best.loss.toFixed(4), base: best.base.toFixed(4)}),
        typeof facts.error === "number" && facts.error > 0 && t("versions.error", {percent: (100 * facts.error).toFixed(1)}), day(created),
    ].filter(Boolean);
    return html`<li>
        <b>${t("models.versions", {count: number})}</b>${" "}
        ${version.review && version.review.state !== "none" && html`<${Verdict} verdict=${version.review.state} />`}${" "}
        ${version.published_as && html`<span class="pill">${t("versions.inUse")}</span>`}
        <div class="small soft">${[t(`origin.${origin || "training"}`), from && t("versions.from", {from})].filter(Boolean).join(" ")}</div>
        <div class="small soft">${figures.join(" · ")}</div>
        ${(facts.warnings || []).length > 0 && html`<details class="small warning"><summary>⚠ ${t("versions.warnings", {count: facts.warnings.length})}</summary>
            ${facts.warnings.map((text) => html`<p>${text}</p>`)}</details>`}
        <div class="row tight small links"><a href=${link("model", model.id, "compare", String(number))}>${t("tab.compare")}</a>
            <a href=${address(version.address)} download aria-label=${`${t("download")}: ${t("models.versions", {count: number})}`}>${t("download")}</a>
            <button class="quiet small" aria-label=${`${t("versions.derive")}: ${t("models.versions", {count: number})}`} onClick=${onDerive}>${t("versions.derive")}</button></div>
    </li>`;
}

/** @param {any} part of a merge @returns {string} */
function part({name, number, file, weight}) {
    const called = name ? `${name} ${t("models.versions", {count: number})}` : file.split(/[\\/]/).pop();
    return `${called} × ${strengthText(weight)}`;
}

/** @param {{loss: number, base: number}[]} points @returns {{loss: number, base: number} | null} the one with the lowest loss */
function least(points) {
    return points.reduce((best, one) => (best && best.loss <= one.loss ? best : one), /** @type {any} */ (null));
}
