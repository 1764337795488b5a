// Losses over the steps of a training, drawn by uPlot.

import {useEffect, useRef} from "preact/hooks";
import uPlot from "uplot";
import {html} from "../html.js";
import {t} from "../words.js";

const HEIGHT = 190;
const REACH = 16;
/** How lines look: distinguished by more than their colour. @type {Record<string, Partial<import("uplot").Series> & {color: string}>} */
const LOOKS = {
    faint: {color: "--line", width: 1},
    main: {color: "--accent", width: 2},
    dotted: {color: "--accent", width: 2, points: {show: true, size: 7}},
    dashed: {color: "--soft", width: 2, dash: [6, 5]},
};

/** @typedef {{label?: string, look: keyof typeof LOOKS, points: [number, number][]}} Line `points`: step and loss */

/**
 * The loss on the images that are trained on, and its trend; beside it that on the held-out images, where there are any.
 * @param {{curve: [number, number][], heldOut: {step: number, loss: number, base: number}[], mark: number | null}} properties
 *     `mark`: the step of the suggested checkpoint
 */
export function Losses({curve, heldOut, mark}) {
    if (curve.length < 2) return null;
    return html`<div class="two">
        <${Curve} title=${t("train.loss")} mark=${mark} lines=${[{look: "faint", points: curve}, {look: "main", points: trend(curve)}]} />
        ${heldOut.length > 1 && html`<${Curve} title=${t("train.heldOut")} mark=${mark} lines=${[
            {look: "dotted", label: t("train.with"), points: heldOut.map((one) => [one.step, one.loss])},
            {look: "dashed", label: t("train.without"), points: heldOut.map((one) => [one.step, one.base])}]} />`}
    </div>`;
}

/** @param {{title: string, lines: Line[], mark: number | null}} properties all lines have the same steps */
function Curve({title, lines, mark}) {
    const element = useRef(/** @type {HTMLDivElement | null} */ (null));
    const plot = useRef(/** @type {any} */ (null));
    const marked = useRef(mark);
    marked.current = mark;
    /** @type {any} */
    const data = [lines[0].points.map(([step]) => step), ...lines.map((line) => line.points.map(([, loss]) => loss))];
    useEffect(() => {
        const box = element.current;
        if (!box) return undefined;
        plot.current = new uPlot(options(box, lines, marked), data, box);
        const observer = new ResizeObserver(() => plot.current.setSize({width: box.clientWidth, height: HEIGHT}));
        observer.observe(box);
        return () => {
            observer.disconnect();
            plot.current.destroy();
        };
    }, []);
    useEffect(() => plot.current?.setData(data), [data[0].length, data[1][data[1].length - 1], mark]);
    const named = lines.filter((line) => line.label);
    const last = (/** @type {Line} */ line) => line.points[line.points.length - 1][1].toFixed(4);
    const spoken = named.length ? named.map((line) => `${line.label} ${last(line)}`).join(", ") : last(lines[0]);
    return html`<figure>
        <div ref=${element} role="img" aria-label=${`${title} ${spoken}`}></div>
        <figcaption class="small soft">
            ${(named.length > 0 || mark !== null) && html`<div class="legend">
                ${named.map((line) => html`<span><i class=${`line-${line.look}`}></i>${line.label}</span>`)}
                ${mark !== null && html`<span><i class="line-mark"></i>${t("train.suggested")}</span>`}</div>`}
            ${title}</figcaption></figure>`;
}

/** @param {HTMLElement} box @param {Line[]} lines @param {{current: number | null}} marked @returns {import("uplot").Options} */
function options(box, lines, marked) {
    const style = getComputedStyle(box);
    const color = (/** @type {string} */ name) => style.getPropertyValue(name);
    const axis = {stroke: color("--soft"), grid: {stroke: color("--line")}};
    const mark = (/** @type {uPlot} */ drawn) => {
        if (marked.current === null) return;
        const at = Math.round(drawn.valToPos(marked.current, "x", true));
        const {ctx, bbox} = drawn;
        ctx.save();
        ctx.strokeStyle = color("--ok");
        ctx.lineWidth = 2 * devicePixelRatio;
        ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at, bbox.top + bbox.height);
        ctx.stroke();
        ctx.restore();
    };
    return {
        width: box.clientWidth, height: HEIGHT, legend: {show: false}, cursor: {y: false},
        scales: {x: {time: false}}, axes: [axis, {...axis, size: 60}],
        series: [{}, ...lines.map(({label = "", look}) => {
            const {color: name, ...shape} = LOOKS[look];
            return {label, stroke: color(name), ...shape, points: {show: false, ...shape.points, fill: color(name)}};
        })],
        hooks: {draw: [mark]},
    };
}

/**
 * One image is harder than another, so single losses jump; the mean of those around each shows where it goes.
 * @param {[number, number][]} points
 * @returns {[number, number][]}
 */
function trend(points) {
    const reach = Math.max(1, Math.round(points.length / REACH));
    return points.map(([step], index) => {
        const near = points.slice(Math.max(0, index - reach), index + reach + 1);
        return [step, near.reduce((sum, [, loss]) => sum + loss, 0) / near.length];
    });
}
