/**
 * Who is signed in. The access token lives in this module's memory alone; the refresh token is a cookie that no script
 * can read. When both have ended, `accessToken` asks for a new sign-in and waits, so that whatever needed it goes on
 * where it stood.
 */
import { Problem } from "./problem.js";

/** Seconds before its end at which a token counts as ended: a request must still arrive with it. */
const MARGIN = 60;
/** The one note in the browser's storage: whether to try the cookie at all. */
const SIGNED_IN = "commonwatt.signed-in";
const LOCK = "commonwatt.session";

let current = null;
let ask = null;
let asking = null;

/** Says who shows the sign-in when it is needed: a function whose promise is kept once somebody has signed in. */
export function whenSignInIsNeeded(show) {
    ask = show;
}

/** Signs in with address and password. */
export async function signIn(email, password) {
    keep(await send("POST", "/api/sessions", { email, password, cookie: true }));
    localStorage.setItem(SIGNED_IN, "yes");
}

/** Ends the session here and on the gateway. */
export async function signOut() {
    const token = await renewed().catch(() => null);
    current = null;
    localStorage.removeItem(SIGNED_IN);
    if (token) await send("DELETE", "/api/sessions/current", undefined, token);
}

/** Takes up the session that the browser still has. False when there is none. */
export async function resume() {
    if (localStorage.getItem(SIGNED_IN) === null) return false;
    return (await renewed()) !== null;
}

/** A token that holds for the next minute; `refused` is one that the gateway didn't take. */
export async function accessToken(refused) {
    const token = await renewed(refused);
    if (token !== null) return token;
    asking ??= ask().finally(() => {
        asking = null;
    });
    await asking;
    return current.token;
}

/** The present token if it holds, else the next one; null when nobody is signed in any more. */
async function renewed(refused) {
    if (holds(refused)) return current.token;
    // A refresh token works once. The lock keeps two tabs from presenting the same one.
    return navigator.locks.request(LOCK, async () => {
        if (holds(refused)) return current.token;
        try {
            // A page that is closed now must still receive its next cookie.
            keep(await send("POST", "/api/sessions/refresh", {}, undefined, { keepalive: true }));
            return current.token;
        } catch (problem) {
            if (problem.status !== 401) throw problem;
            current = null;
            localStorage.removeItem(SIGNED_IN);
            return null;
        }
    });
}

function holds(refused) {
    return current !== null && current.token !== refused && Date.now() < current.ends;
}

function keep({ access_token: token, expires_in: seconds }) {
    current = { token, ends: Date.now() + (seconds - MARGIN) * 1000 };
}

async function send(method, path, body, token, options = {}) {
    const headers = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const response = await fetch(path, { method, headers, body: JSON.stringify(body), ...options }).catch(() => {
        throw Problem.unreachable();
    });
    if (!response.ok) throw await Problem.of(response);
    return response.status === 204 ? null : response.json();
}
