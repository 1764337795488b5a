// One image, large: what is trained on of it, why it is good or bad, turned, cropped, excluded.

import {useEffect, useState} from "preact/hooks";
import {address, encodePath, patch} from "../api.js";
import {html} from "../html.js";
import {t} from "../words.js";
import {Crop, Shade} from "./crop.js";
import {Dialog} from "./dialog.js";
import {Wrong} from "./message.js";
import {reasons, Verdict} from "./verdict.js";
import {useWork} from "./work.js";

/**
 * @param {{model: any, images: any[], name: string, onOpen: (name: string) => void, onClose: () => void,
 *     onExclude: (names: string[], excluded: boolean) => Promise<unknown>, onChange: () => Promise<void>}} properties
 */
export function Viewer({model, images, name, onOpen, onClose, onExclude, onChange}) {
    const [cropping, setCropping] = useState(false);
    const [problem, work] = useWork();
    const index = images.findIndex((one) => one.name === name);
    const image = images[index];
    const step = (/** @type {number} */ by) => {
        const next = images[index + by];
        if (next && !cropping) onOpen(next.name);
    };
    useEffect(() => {
        // An image that does not belong to what is shown any more, such as an excluded one among the included.
        if (!image) onClose();
    }, [image]);
    if (!image) return null;
    const edit = (/** @type {Record<string, unknown>} */ change) => work(async () => {
        await patch(`models/${model.id}/images/${encodePath(name)}`, change);
        setCropping(false);
        await onChange();
    });
    const key = (/** @type {KeyboardEvent} */ event) => {
        if (event.target instanceof HTMLInputElement || cropping) return;
        if (event.key === "ArrowLeft") step(-1);
        else if (event.key === "ArrowRight") step(1);
        else if (event.key === "x") onExclude([name], !image.excluded);
    };
    return html`
        <${Dialog} title=${name} wide stage=${`${name} ${cropping}`} onClose=${onClose} onKeyDown=${key}>
            <div class="viewer">
                ${cropping ? html`<${Crop} image=${image} onSave=${edit} onCancel=${() => setCropping(false)} />` : html`
                    <div class="stage"><div class="frame">
                        <img src=${enlarged(image)} alt=${image.caption || name} />
                        <${Shade} crop=${image.trained ? image.trained.crop : null} /></div></div>`}
                <div class="stack">
                    <${Facts} image=${image} />
                    ${!cropping && html`
                        <div class="row tight">
                            <button aria-label=${t("viewer.left")} title=${t("viewer.left")} onClick=${() => edit({rotate: (image.rotate + 270) % 360})}>↺</button>
                            <button aria-label=${t("viewer.right")} title=${t("viewer.right")} onClick=${() => edit({rotate: (image.rotate + 90) % 360})}>↻</button>
                            <button onClick=${() => setCropping(true)}>${t("viewer.crop")}</button>
                            ${(image.crop || image.rotate > 0) && html`<button class="quiet" onClick=${() => edit({rotate: 0, crop: null})}>${t("viewer.undo")}</button>`}
                        </div>
                        <button onClick=${() => onExclude([name], !image.excluded)}>${t(image.excluded ? "images.include" : "images.leave")}</button>`}
                    <${Wrong} problem=${problem} />
                    <div class="row tight end">
                        <button disabled=${index === 0 || cropping} onClick=${() => step(-1)}>← ${t("previous")}</button>
                        <span class="small soft">${index + 1} / ${images.length}</span>
                        <button disabled=${index === images.length - 1 || cropping} onClick=${() => step(1)}>${t("next")} →</button>
                    </div>
                    <p class="small soft">${t("viewer.keys")}</p>
                </div>
            </div>
        <//>`;
}

/** @param {any} image @returns {string} */
const enlarged = (image) => address(image.thumbnail.replace("size=320", "size=640"));

function Facts({image}) {
    const trained = image.trained;
    return html`
        <div><${Verdict} image=${image} /></div>
        ${reasons(image) && html`<p>${reasons(image)}</p>`}
        <dl class="fact">
            <dt>${t("viewer.size")}</dt><dd>${image.width} × ${image.height}</dd>
            ${trained && html`<dt>${t("viewer.trained")}</dt><dd>${trained.width} × ${trained.height}</dd>`}
        </dl>
        ${image.caption && html`<p class="small">${image.caption}</p>`}
        <p class="small soft">${t("viewer.shade")}</p>`;
}
