// The name under which whoever is here decides, kept in this browser.

const NAME = "lora-trainer-name";

/** @returns {string} empty where nobody has given one */
export function signature() {
    try {
        return localStorage.getItem(NAME) || "";
    } catch {
        // A frame of another site may have no storage.
        return "";
    }
}

/** @param {string} who for the next time */
export function sign(who) {
    try {
        localStorage.setItem(NAME, who);
    } catch {
        // It is asked for again.
    }
}
