/** The verifier: the program's own, compiled to WebAssembly. */

const MODULE = "/console/vendor/verifier.wasm";
const TROUBLE = "The verifier can't run in this browser. The program does the same: commonwatt verify receipt.";

let compiled;

/** Fetches it, once. */
export function load() {
    compiled ??= WebAssembly.compileStreaming(fetch(MODULE)).catch(() => {
        compiled = undefined;
        throw new Error(TROUBLE);
    });
    return compiled;
}

/**
 * Verifies files, each under what it is.
 *
 * @param {Record<string, string>} files
 * @returns {Promise<{ verdict: object } | { unreadable: { input: string | null, why: string } }>}
 */
export async function verify(files) {
    const question = new TextEncoder().encode(JSON.stringify(files));
    // Each question has an instance of its own: whatever becomes of one, the next one begins afresh.
    const { memory, room, verify, answer } = (await WebAssembly.instantiate(await load())).exports;
    try {
        const at = room(question.length);
        new Uint8Array(memory.buffer, at, question.length).set(question);
        const length = verify();
        return JSON.parse(new TextDecoder().decode(new Uint8Array(memory.buffer, answer(), length)));
    } catch {
        throw new Error(TROUBLE);
    }
}
