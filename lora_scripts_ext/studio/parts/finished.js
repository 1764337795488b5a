// The images that were handed over, as their channels get them.

import {useEffect, useState} from "preact/hooks";
import {address, encodePath, get} from "../api.js";
import {html} from "../html.js";
import {attempt} from "../state.js";
import {t} from "../words.js";

const STEP = 24;

/** @param {{manifest: string, stamp: string, titles: Record<string, string>}} properties `manifest`: its address; `stamp`: another one after another export */
export function Finished({manifest, stamp, titles}) {
    const [images, setImages] = useState(/** @type {any[]} */ ([]));
    const [most, setMost] = useState(STEP);
    useEffect(() => {
        attempt(async () => setImages((await get(manifest)).images));
    }, [stamp]);
    const of = (/** @type {any} */ one) => `${address(manifest.replace(/manifest\.json$/, ""))}${encodePath(one.file)}?of=${one.sha256.slice(0, 16)}`;
    return html`<ul class="grid">${images.slice(0, most).map((one) => html`<li key=${one.file} class="tile small">
            <a href=${of(one)} target="_blank" rel="noreferrer"><img src=${of(one)} alt=${`${one.sku}, ${titles[one.channel] || one.channel}`} loading="lazy" decoding="async" /></a>
            <div class="line">${one.sku} <span class="soft">${one.width} × ${one.height}</span></div><div class="line soft">${titles[one.channel] || one.channel}</div></li>`)}</ul>
        ${images.length > most && html`<button class="more" onClick=${() => setMost(most + 4 * STEP)}>${t("more")}</button>`}`;
}
