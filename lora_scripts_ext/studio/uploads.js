// Files sent in parts: what has arrived stays, and a broken connection is taken up again.

import {get, post, Problem, request} from "./api.js";

const PART = 4 * 2 ** 20;
const TRIES = 6;
const PAUSE = 1000;

/**
 * Send a file to a model.
 * @param {string} model
 * @param {File} file
 * @param {(share: number) => void} progress called with the share that has arrived, 0 to 1
 * @returns {Promise<{images: string[], skipped: {name: string, reason: string}[]}>}
 */
export async function send(model, file, progress) {
    const open = (await get(`models/${model}/uploads`)).items;
    // The same file, begun before a reload.
    const known = open.find((one) => one.name === file.name && one.size === file.size);
    const upload = known || await post(`models/${model}/uploads`, {name: file.name, size: file.size});
    let received = upload.received;
    for (let tries = 0; received < file.size;) {
        try {
            const part = file.slice(received, received + PART);
            received = (await request("PUT", `uploads/${upload.id}?offset=${received}`, part)).received;
            tries = 0;
        } catch (error) {
            if (!(error instanceof Problem) || !["offline", "conflict", "too_many_requests"].includes(error.code)) throw error;
            if (++tries > TRIES) throw error;
            await new Promise((resolve) => setTimeout(resolve, PAUSE * tries));
            received = (await get(`uploads/${upload.id}`)).received;
        }
        progress(received / file.size);
    }
    return post(`uploads/${upload.id}/complete`);
}

/** Files of a folder that was dropped -> their paths in it. @type {WeakMap<File, string>} */
const paths = new WeakMap();
/** @param {File} file @returns {string} its path in the folder that was dropped or chosen, else its name */
export const pathOf = (file) => paths.get(file) || file.webkitRelativePath || file.name;

/**
 * The files of a drop, those in folders included.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return [...transfer.files];
    const files = await Promise.all(entries.map((entry) => inside(/** @type {FileSystemEntry} */ (entry))));
    return files.flat();
}

/** @param {FileSystemEntry} entry @returns {Promise<File[]>} */
async function inside(entry) {
    if (entry.isFile) {
        const file = /** @type {FileSystemFileEntry} */ (entry);
        /** @type {File} */
        const found = await new Promise((resolve, reject) => file.file(resolve, reject));
        paths.set(found, entry.fullPath.replace(/^\//, ""));
        return [found];
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    /** @type {File[]} */
    const files = [];
    // A reader gives a hundred at a time.
    for (;;) {
        /** @type {FileSystemEntry[]} */
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) return files;
        for (const one of some) files.push(...await inside(one));
    }
}
