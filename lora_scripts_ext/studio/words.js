// The sentences of the page: words/LANGUAGE/GROUP.js, each group loaded with the screen that needs it.

import {signal} from "@preact/signals";

/** @typedef {"en" | "zh"} Language */

/** A sentence's key -> the sentence; {name} stands for a value, what is before a "|" is for one, where `count` is given.
 * @typedef {Record<string, string>} Words
 */

/** @type {Record<Language, Words>} */
const WORDS = {en: {}, zh: {}};
/** @type {Set<string>} the groups that what is shown needs */
const needed = new Set();

/** @type {import("@preact/signals").Signal<Language>} */
export const language = signal(initial());
/** When the words of the frame and of the list of models are there. */
export const ready = learn("page");
document.documentElement.lang = tongue();

/** @returns {Language} */
function initial() {
    // What the user chose here, else the WebUI's language, else the browser's.
    const asked = stored() || new URLSearchParams(location.search).get("lang") || navigator.language;
    return asked.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function stored() {
    try {
        return localStorage.getItem("lora-trainer-language");
    } catch {
        // A frame of another site may have no storage.
        return null;
    }
}

/** @returns {string} the tag of the page's language, in which the server, too, is to answer */
export function tongue() {
    return language.value === "zh" ? "zh-CN" : "en";
}

/** @param {...string} groups of words, to be there from now on in whatever language the page has */
export async function learn(...groups) {
    groups.forEach((group) => needed.add(group));
    await load(groups, language.value);
}

/** @param {string[]} groups @param {Language} chosen */
async function load(groups, chosen) {
    const found = await Promise.all(groups.map((group) => import(`./words/${chosen}/${group}.js`)));
    Object.assign(WORDS[chosen], ...found.map((module) => module.default));
}

/** @param {Language} chosen for this visit and the next */
export async function speak(chosen) {
    try {
        await load([...needed], chosen);
    } catch (error) {
        // The server does not answer, which the page says already.
        console.error(error);
        return;
    }
    language.value = chosen;
    document.documentElement.lang = tongue();
    try {
        localStorage.setItem("lora-trainer-language", chosen);
    } catch {
        // Chosen for this visit only.
    }
}

/**
 * A sentence in the language of the page.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
    const sentence = WORDS[language.value][key];
    if (sentence === undefined) throw new Error(`no words for ${key}`);
    const [one, many] = sentence.split("|");
    return (values.count === 1 || many === undefined ? one : many).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {number} seconds @returns {string} a duration, rounded */
export function duration(seconds) {
    if (seconds < 90) return t("time.seconds", {count: Math.max(1, Math.round(seconds))});
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? t("time.minutes", {count: minutes}) : t("time.hours", {count: (minutes / 60).toFixed(1)});
}

/** @param {string} time in ISO 8601 @returns {string} the day and time of day as the language writes them */
export const moment = (time) => new Date(time).toLocaleString(tongue());
/** @param {string} time @returns {string} */
export const day = (time) => new Date(time).toLocaleDateString(tongue());
