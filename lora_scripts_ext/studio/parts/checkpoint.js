// Checkpoints of a training: what they are called, and which one is suggested.

import {t} from "../words.js";

/** @param {string | null | undefined} path @returns {string} the name of a file, without the folders it lies in */
export const baseName = (path) => (path || "").split(/[\\/]/).pop() || "";

/** @param {number} strength @returns {string} such as "1.0" */
export const strengthText = (strength) => (Number.isInteger(strength) ? strength.toFixed(1) : String(strength));

/**
 * @param {{step?: number | null, epoch?: number | null, final?: boolean, file?: string}} checkpoint
 * @returns {string}
 */
export function checkpointName({step, epoch, final, file}) {
    if (final) return t("checkpoint.final");
    if (epoch) return t("checkpoint.epoch", {epoch});
    return step ? t("checkpoint.step", {step}) : baseName(file).replace(/\.safetensors$/, "");
}

/**
 * The checkpoint that a training's report suggests.
 * @param {any} report of a training
 * @returns {{step: number, epoch?: number, final: boolean, strength: number, reason: string, warns: boolean} | null}
 */
export function suggestion(report) {
    const found = report.suggested;
    if (!found) return null;
    const saved = report.checkpoints.find((one) => baseName(one.path) === baseName(found.checkpoint));
    // The finished LoRA of a run that ended early is that of its best epoch.
    const step = saved ? saved.step : report.ended_early ? report.ended_early.best : report.step;
    // Of several at a step the last: an epoch that ends there.
    const epoch = (report.held_out || []).filter((one) => one.step === step).pop()?.epoch;
    return {step, epoch, final: !saved, strength: found.strength, reason: found.reason, warns: Boolean(found.warns)};
}
