// The template tag that all screens are written with, and what their fields need.

import {h} from "preact";
import htm from "htm";

export const html = htm.bind(h);

/**
 * A listener that passes on what a field holds now.
 * @param {(value: string) => unknown} set
 * @returns {(event: any) => unknown}
 */
export const typed = (set) => (event) => set(event.target.value);
