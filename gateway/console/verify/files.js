/** What a receipt or a statement is verified with, and which file is what. */

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
    proof: { label: "Proof", hint: "A .tlog-proof: a statement's, or a receipt's that came without one." },
    statement: { label: "Statement", hint: "What the gateway says at /api/statements/…, as it is." },
    receipts: { label: "Its receipts", hint: "Those that it is made of, in the order of the log, a JWS on each line." },
};
export const REQUIRED = ["receipt", "keys", "policy"];
export const OPTIONAL = ["request", "answer", "proof", "statement", "receipts"];

/** Of these one is verified, whichever was given last, with what belongs to it alone. */
const SUBJECTS = { receipt: ["request", "answer", "proof"], statement: ["receipts", "proof"] };

/** What there is to verify: `receipt`, `statement`, or null. */
export function subjectOf(given) {
    return Object.keys(SUBJECTS).find((kind) => given[kind]?.text.trim()) ?? null;
}

/** What is given when these files come in: a receipt takes the place of a statement, and a statement that of a receipt. */
export function withChanges(given, changes) {
    const [before, now] = [subjectOf(given), subjectOf(changes)];
    const gone = before && now && before !== now ? [before, ...SUBJECTS[before]] : [];
    const kept = Object.entries(given).filter(([kind]) => !gone.includes(kind));
    return { ...Object.fromEntries(kept), ...changes };
}

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
    if (/^eyJ[\w-]*\.[\w-]+\.[\w-]+\r?\n/.test(start)) return "receipts";
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
    if (has("party") && has("lines")) return "statement";
    if (has("keys")) return "keys";
    if (has("messages", "prompt", "input") && !has("output")) return "request";
    return has("choices", "output", "data") ? "answer" : null;
}
