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

/** The account of an id. */
export function accountOf(id, signal) {
    return get(`/api/accounts/${id}`, null, { signal });
}

async function fitting(text, signal) {
    return (await get("/api/accounts", { all: true, text, limit: MOST }, { signal })).data;
}
