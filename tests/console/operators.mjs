/** What tests of nodes, operators and administrators ask the gateway past the console. */
import { generateKeyPairSync, sign } from "node:crypto";

import { ask } from "./support.mjs";

export const { ADMIN_TOKEN } = process.env;

/** The gateway's first node that is connected. */
export async function theNode() {
    const { data } = await ask("GET", "/api/nodes", { bearer: ADMIN_TOKEN });
    return data.find((node) => node.connected);
}

/** One node as its operator sees it. */
export function one(id) {
    return ask("GET", `/api/nodes/${id}`, { bearer: ADMIN_TOKEN });
}

/** Who the administrator is. */
export function me() {
    return ask("GET", "/api/me", { bearer: ADMIN_TOKEN });
}

/** Makes a user, and gives what to sign in with, their id and their account's. */
export async function newUser(name) {
    const email = `${process.hrtime.bigint()}@example.com`;
    const made = await ask("POST", "/api/users", { bearer: ADMIN_TOKEN, body: { email, name, is_admin: false } });
    return { email, name, ...made };
}

/** Lets a node join that never connects, as its program would, and gives its id. */
export async function joined(name) {
    const { token } = await ask("POST", "/api/enrolment-tokens", { bearer: ADMIN_TOKEN });
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const public_key = publicKey.export({ format: "jwk" }).x;
    const said = Buffer.from(`commonwatt enrolment v1\n${token}\n${public_key}`);
    const signature = sign(null, said, privateKey).toString("base64url");
    return (await ask("POST", "/node/v1/enrol", { body: { token, name, public_key, signature } })).node;
}
