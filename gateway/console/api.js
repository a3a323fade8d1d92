/** The gateway's API: requests with the session's token, problems as errors, streams as iterators. */
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { Problem } from "./problem.js";
import { accessToken } from "./session.js";
import { events } from "./sse.js";

export { Problem };

const SETTLING_MILLISECONDS = 200;

/** Reads. Of `query` what is null, undefined or empty is left out. */
export const get = (path, query, options) => json("GET", path + queryString(query), undefined, options);
export const post = (path, body, options) => json("POST", path, body, options);
export const put = (path, body, options) => json("PUT", path, body, options);
export const patch = (path, body, options) => json("PATCH", path, body, options);
export const remove = (path, options) => json("DELETE", path, undefined, options);
/** Reads as it is: a table, or a document byte for byte. */
export const getText = async (path, query, options) => (await send("GET", path + queryString(query), undefined, options)).text();
/** Posts a table. */
export const postCsv = (path, text) => json("POST", path, text, { headers: { "content-type": "text/csv" } });

/**
 * The events of a reply as they come: `{ event, data }` for events, `{ comment }` for comments.
 *
 * @param {{ body?: object, bearer?: string, signal?: AbortSignal, headers?: object, onResponse?: (response: Response) => void }} options
 *     With a body it is posted. `bearer` is a key to use in the session's place.
 */
export async function* stream(path, { body, onResponse, ...options } = {}) {
    const response = await send(body === undefined ? "GET" : "POST", path, body, options);
    onResponse?.(response);
    yield* events(response.body);
}

/**
 * Loads when the page appears and when a dependency changes. What was loaded stays until something newer is there.
 *
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @returns {{ value: T | undefined, problem: Problem | null, loading: boolean, reload: () => void }}
 */
export function useLoaded(load, dependencies = []) {
    const [state, setState] = useState({ value: undefined, problem: null, loading: true });
    const [turn, setTurn] = useState(0);
    const latest = useRef(load);
    latest.current = load;
    useEffect(() => {
        const abort = new AbortController();
        setState((before) => ({ ...before, loading: true }));
        const settle = (change) => {
            if (!abort.signal.aborted) setState((before) => ({ ...before, ...change, loading: false }));
        };
        latest.current(abort.signal).then(
            (value) => settle({ value, problem: null }),
            (problem) => settle({ problem }),
        );
        return () => abort.abort();
    }, [...dependencies, turn]);
    const reload = useCallback(() => setTurn((count) => count + 1), []);
    return { ...state, reload };
}

/** A value once it has stayed as it is for a moment: what is typed isn't asked for letter by letter. */
export function useSettled(value) {
    const [settled, setSettled] = useState(value);
    useEffect(() => {
        const timer = setTimeout(() => setSettled(value), SETTLING_MILLISECONDS);
        return () => clearTimeout(timer);
    }, [value]);
    return settled;
}

/**
 * For lists that are read page by page, newest first: `before` is what the API is asked with, and `steps` are the pager's,
 * from the `next` of the page that is shown.
 */
export function useTurning() {
    const [turned, setTurned] = useState([]);
    const before = turned.at(-1);
    const steps = (next) => ({
        onNewer: before ? () => setTurned(turned.slice(0, -1)) : null,
        onOlder: next ? () => setTurned([...turned, next]) : null,
    });
    return { before, steps, restart: () => setTurned([]) };
}

async function json(method, path, body, options) {
    const response = await send(method, path, body, options);
    const text = await response.text();
    return text === "" ? null : exact(text);
}

async function send(method, path, body, { bearer, signal, keepalive, headers = {} } = {}) {
    const attempt = async (token) => {
        const type = body === undefined ? {} : { "content-type": "application/json" };
        const all = { ...type, ...headers, authorization: `Bearer ${token}` };
        const said = typeof body === "string" ? body : JSON.stringify(body);
        return fetch(path, { method, headers: all, body: said, signal, keepalive, credentials: "omit" });
    };
    try {
        const token = bearer ?? (await accessToken());
        let response = await attempt(token);
        if (response.status === 401 && bearer === undefined) response = await attempt(await accessToken(token));
        if (!response.ok) throw await Problem.of(response);
        return response;
    } catch (error) {
        if (error instanceof Problem || signal?.aborted) throw error;
        throw Problem.unreachable();
    }
}

/** Parses JSON. Integers that a number can't hold exactly become BigInt where the browser shows their digits. */
export function exact(text) {
    return JSON.parse(text, (_, value, context) => {
        const rounded = Number.isInteger(value) && !Number.isSafeInteger(value);
        return rounded && /^-?\d+$/.test(context?.source) ? BigInt(context.source) : value;
    });
}

function queryString(query = {}) {
    const given = Object.entries(query ?? {}).filter(
        ([, value]) => value !== null && value !== undefined && value !== "",
    );
    return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}
