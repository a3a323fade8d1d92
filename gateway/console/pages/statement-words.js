/** Parties and times as statements name them. */
import { short } from "./request-names.js";

const OPERATOR = "operator:";
const AUTHOR = "author:";
const OTHERS = { gateway: "The gateway", audit_fund: "Checking nodes" };
const KEY = / ed25519:[\w-]{43}$/;

/** Who earns by an account of the ledger. */
export function partyInWords(party, me) {
    if (party === `${OPERATOR}${me.account}`) return "Your nodes";
    if (party.startsWith(OPERATOR)) return `Operator ${short(party.slice(OPERATOR.length))}`;
    if (party.startsWith(AUTHOR)) return `Author ${authorName(party.slice(AUTHOR.length))}`;
    return Object.hasOwn(OTHERS, party) ? OTHERS[party] : party;
}

/** An author's name, without the key that may stand behind it. */
export function authorName(author) {
    return author.replace(KEY, "");
}

/** A moment in UTC, as it stands on paper. */
export function utc(microseconds) {
    return `${new Date(Number(microseconds) / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
