/** Accounts and users, as administrators look for them. */
import { get } from "../api.js";

const MOST = 10;

/** What an account is called where there is room for a line: its name, and the addresses of who may use it. */
export function asFound({ id, name, members }) {
    return { id, name, detail: members.map(({ email }) => email).join(", ") };
}

/** Accounts that a text fits. */
export async function accounts(text, signal) {
    return (await fitting(text, signal)).map(asFound);
}

/** Users of the accounts that a text fits. */
export async function users(text, signal) {
    const members = (await fitting(text, signal)).flatMap((account) => account.members);
    const each = new Map(members.map(({ user, name, email }) => [user, { id: user, name, detail: email }]));
    return [...each.values()];
}

/** The account of an id, if there is one. Accounts come newest first, by id: it is the first one before the next id. */
export async function accountOf(id, signal) {
    const next = (BigInt(`0x${id.replaceAll("-", "")}`) + 1n).toString(16).padStart(32, "0");
    const before = next.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    const { data } = await get("/api/accounts", { all: true, before, limit: 1 }, { signal });
    return data.find((account) => account.id === id);
}

async function fitting(text, signal) {
    return (await get("/api/accounts", { all: true, text, limit: MOST }, { signal })).data;
}
