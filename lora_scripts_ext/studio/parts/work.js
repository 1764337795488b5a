// A piece of work that may fail, and what went wrong with it.

import {useState} from "preact/hooks";
import {Problem} from "../api.js";

/**
 * What went wrong with a piece of work, kept until the next one succeeds.
 * @returns {[Problem | null, (work: () => Promise<unknown>) => Promise<boolean>]}
 */
export function useWork() {
    const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
    const work = async (/** @type {() => Promise<unknown>} */ what) => {
        try {
            await what();
            setProblem(null);
            return true;
        } catch (error) {
            if (!(error instanceof Problem)) throw error;
            setProblem(error);
            return false;
        }
    };
    return [problem, work];
}
