/** A value outside of any page: it stays while the person looks elsewhere in the console, and in memory alone. */
import { useEffect, useState } from "../html.js";

/**
 * @template T
 * @param {T} first
 * @returns {{ get: () => T, set: (next: T) => void, use: () => T }} `use` draws its component anew with each change.
 */
export function store(first) {
    let value = first;
    const watching = new Set();
    const set = (next) => {
        value = next;
        for (const redraw of watching) redraw(next);
    };
    const use = () => {
        const [, redraw] = useState(value);
        useEffect(() => {
            watching.add(redraw);
            redraw(value);
            return () => watching.delete(redraw);
        }, []);
        return value;
    };
    return { get: () => value, set, use };
}
