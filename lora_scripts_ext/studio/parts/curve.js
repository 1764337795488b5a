// The loss of a training, drawn by uPlot.

import {useEffect, useRef} from "preact/hooks";
import uPlot from "uplot";
import {html} from "../html.js";

const HEIGHT = 200;
const REACH = 16;

/** @param {{points: [number, number][], label: string}} properties `points`: step and loss */
export function Curve({points, label}) {
    const element = useRef(/** @type {HTMLDivElement | null} */ (null));
    const plot = useRef(/** @type {any} */ (null));
    /** @type {import("uplot").AlignedData} */
    const data = [points.map(([step]) => step), points.map(([, loss]) => loss), trend(points)];
    useEffect(() => {
        const box = element.current;
        if (!box) return undefined;
        plot.current = new uPlot(options(box, label), data, box);
        const observer = new ResizeObserver(() => plot.current.setSize({width: box.clientWidth, height: HEIGHT}));
        observer.observe(box);
        return () => {
            observer.disconnect();
            plot.current.destroy();
        };
    }, []);
    useEffect(() => plot.current?.setData(data), [points.length, points[points.length - 1]?.[1]]);
    const [last] = points.slice(-1);
    return html`<figure role="img" aria-label=${`${label}: ${last[1].toFixed(4)}`}><div ref=${element}></div>
        <figcaption class="small soft">${label}</figcaption></figure>`;
}

/** @param {HTMLElement} box @param {string} label */
function options(box, label) {
    const style = getComputedStyle(box);
    const axis = {stroke: style.getPropertyValue("--soft"), grid: {stroke: style.getPropertyValue("--line")}};
    return {
        width: box.clientWidth, height: HEIGHT, legend: {show: false}, cursor: {y: false},
        scales: {x: {time: false}}, axes: [axis, axis],
        series: [
            {}, {label, stroke: style.getPropertyValue("--line"), width: 1},
            {label, stroke: style.getPropertyValue("--accent"), width: 2},
        ],
    };
}

/**
 * One image is harder than another, so single losses jump; the mean of those around each shows where it goes.
 * @param {[number, number][]} points
 */
function trend(points) {
    const reach = Math.max(1, Math.round(points.length / REACH));
    return points.map((_, index) => {
        const near = points.slice(Math.max(0, index - reach), index + reach + 1);
        return near.reduce((sum, [, loss]) => sum + loss, 0) / near.length;
    });
}
