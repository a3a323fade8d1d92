/**
 * The key that the playground asks with. It lives in memory alone. One that was made for the page is revoked when the
 * person has left it, and ends by itself should the browser be gone before that.
 */
import { get, post, remove } from "../api.js";
import { resume } from "../session.js";
import { store } from "./playground-store.js";

const LIFETIME = 3_600_000;
/** A look at another page, such as a request's, costs nobody the key. */
const GRACE = 120_000;

/** @type {{ get: () => ?{ owner: string, key: string, made: ?string, ends: ?number } }} */
const held = store(null);
let leaving = null;

/** The key that this person has given or made, if any. */
export function useKey(me) {
    const found = held.use();
    return found?.owner === me.id ? found : null;
}

/** Takes a key that the person has, if the gateway takes it for inference. */
export async function giveKey(me, key) {
    await get("/v1/models", null, { bearer: key });
    held.set({ owner: me.id, key, made: null, ends: null });
}

/** Makes a key for this page, which may spend so many credits. */
export async function makeKey(me, credits) {
    const ends = Date.now() + LIFETIME;
    const created = await post("/api/keys", {
        name: "Playground",
        expires_at: new Date(ends).toISOString(),
        limits: { credits_per_day: credits, concurrent_requests: 4 },
    });
    held.set({ owner: me.id, key: created.key, made: created.id, ends });
}

/** Forgets the key, and revokes it if it was made here. If that fails it ends by itself within the hour. */
export async function forgetKey() {
    const { made } = held.get() ?? {};
    held.set(null);
    // Whoever has signed out since is not asked to sign in for it.
    if (!made || !(await resume().catch(() => false))) return;
    // Of a page that is closed now only what is kept alive arrives.
    await remove(`/api/keys/${made}`, { keepalive: true }).catch(() => {});
}

/** The page is open; call what comes back when it is left. */
export function stay() {
    clearTimeout(leaving);
    return () => {
        leaving = setTimeout(() => forgetKey(), GRACE);
    };
}

addEventListener("pagehide", () => forgetKey());
