/** The stream behind the live view, opened again whenever it ends. */
import { stream } from "../api.js";
import { useEffect, useRef, useState } from "../html.js";

const SHORTEST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

/**
 * Hears the federation while the page is there. `onEvent` gets `{ event, data }` with data already read, and `onOpen` is
 * told of every new connection.
 *
 * @returns {{ connected: boolean, problem: Error | null }}
 */
export function useFeed(onOpen, onEvent) {
    const [state, setState] = useState({ connected: false, problem: null });
    const told = useRef();
    told.current = { onOpen, onEvent };
    useEffect(() => {
        const abort = new AbortController();
        listen(abort.signal, told, setState);
        return () => abort.abort();
    }, []);
    return state;
}

async function listen(signal, told, setState) {
    let wait = SHORTEST_WAIT;
    while (!signal.aborted) {
        try {
            for await (const { event, data } of stream("/api/live", { signal, onResponse: () => told.current.onOpen() })) {
                if (data === undefined) continue;
                wait = SHORTEST_WAIT;
                setState((state) => (state.connected ? state : { connected: true, problem: null }));
                told.current.onEvent({ event, data: JSON.parse(data) });
            }
            // The gateway ends it after a while, so that whoever stays shows again who he is.
            setState({ connected: false, problem: null });
        } catch (problem) {
            if (signal.aborted) return;
            setState({ connected: false, problem });
        }
        await paused(wait, signal);
        wait = Math.min(LONGEST_WAIT, wait * 2);
    }
}

function paused(milliseconds, signal) {
    return new Promise((done) => {
        const timer = setTimeout(done, milliseconds);
        signal.addEventListener("abort", () => {
            clearTimeout(timer);
            done();
        });
    });
}
