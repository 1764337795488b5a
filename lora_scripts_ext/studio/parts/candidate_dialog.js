// A candidate, large: to be judged, chosen and cropped.

import {useState} from "preact/hooks";
import {address} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";
import {Crop, Shade} from "./crop.js";
import {Dialog} from "./dialog.js";

/**
 * @param {{product: any, one: any, count: number, at: number, crop: boolean, onStep: (by: number) => void,
 *     onChoose: (number: number) => unknown, onCrop: (crop: number[] | null) => unknown, onClose: () => void}} properties
 */
export function CandidateDialog({product, one, count, at, crop, onStep, onChoose, onCrop, onClose}) {
    const [cropping, setCropping] = useState(crop);
    const key = (/** @type {KeyboardEvent} */ event) => {
        if (event.target instanceof HTMLInputElement || cropping || event.ctrlKey || event.metaKey) return;
        if (event.key === "ArrowLeft") onStep(-1);
        else if (event.key === "ArrowRight") onStep(1);
        else if (event.key === "c") setCropping(true);
        else if (event.key === "z") onClose();
        else if (/^[1-9]$/.test(event.key)) onChoose(Number(event.key));
    };
    const name = `${product.title || product.sku}, ${t("choose.image", {number: one.number})}`;
    const close = () => (crop ? onClose() : setCropping(false));
    return html`<${Dialog} title=${name} wide stage=${`${at} ${cropping}`} onClose=${onClose} onKeyDown=${key}>
        ${cropping ? html`<p class="small soft">${t("choose.cropHint")}</p>
            <${Crop} image=${{...one, name}} onSave=${(/** @type {{crop: number[] | null}} */ change) => onCrop(change.crop)} onCancel=${close} />`
            : html`<div class="stage"><div class="frame"><img src=${address(one.image)} alt=${product.prompt} /><${Shade} crop=${one.crop} /></div>
                <div class="row tight"><button disabled=${at === 0} onClick=${() => onStep(-1)}>← ${t("previous")}</button>
                    <button class=${one.verdict === "approved" ? "" : "main"} aria-pressed=${one.verdict === "approved"} onClick=${() => onChoose(one.number)}>
                        ${t(one.verdict === "approved" ? "choose.takeBack" : "choose.this")} <kbd>${one.number}</kbd></button>
                    <button onClick=${() => setCropping(true)}>${t("choose.crop")} <kbd>C</kbd></button>
                    <button disabled=${at + 1 >= count} onClick=${() => onStep(1)}>${t("next")} →</button></div></div>`}
    <//>`;
}
