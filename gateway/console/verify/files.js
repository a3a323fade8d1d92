/** What a receipt is verified with, and which file is what. */

/** `here` is where this gateway has it. */
export const FILES = {
    receipt: { label: "Receipt", hint: "What the gateway says at /v1/receipts/…, or its JWS alone." },
    keys: {
        label: "The gateway's keys",
        hint: "Without them nobody knows who has signed. Trust those that you kept, or got from somebody else.",
        here: "/.well-known/jwks.json",
    },
    policy: {
        label: "Log policy",
        hint: "Which log and which witnesses you believe. Without it the log isn't checked.",
        here: "/log/policy",
    },
    request: { label: "Your request", hint: "The body, as it was sent." },
    answer: { label: "The answer", hint: "The whole event stream, comments and all, or the JSON." },
    proof: { label: "Proof", hint: "A .tlog-proof, where the receipt came without one." },
};
export const REQUIRED = ["receipt", "keys", "policy"];
export const OPTIONAL = ["request", "answer", "proof"];

/** No file that is verified is longer. */
const LONGEST = 64 * 1024 * 1024;

/** The text of a file. */
export async function textOf(file) {
    if (file.size > LONGEST) throw new Error(`${file.name} is larger than 64 MB.`);
    // A mark at the beginning counts: whoever has sent it has signed it.
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(await file.arrayBuffer());
}

/** What a file is by its looks; null if that can't be told. */
export function kindOf(text) {
    const start = text.trim();
    if (start.startsWith("c2sp.org/tlog-proof@")) return "proof";
    if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(start)) return "receipt";
    if (start.startsWith("{")) return kindOfJson(start);
    if (/^(data|event|id|retry)?:/.test(start)) return "answer";
    return /^\s*(log|witness|group|quorum)\s/m.test(start) ? "policy" : null;
}

function kindOfJson(text) {
    let members;
    try {
        members = JSON.parse(text);
    } catch {
        return null;
    }
    const has = (...names) => names.some((name) => name in members);
    if (members.object === "receipt") return "receipt";
    if (has("keys")) return "keys";
    if (has("messages", "prompt", "input") && !has("output")) return "request";
    return has("choices", "output", "data") ? "answer" : null;
}
