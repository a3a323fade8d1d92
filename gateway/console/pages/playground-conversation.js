/** The conversation: its turns, and the one answer that may be on its way. It goes on while another page is shown. */
import { stream } from "../api.js";
import { begun, ended, failed, heard, left } from "./playground-answer.js";
import { bodyOf, messagesOf, USUAL } from "./playground-body.js";
import { store } from "./playground-store.js";
import { endRequest } from "./request-ending.js";

/** For how long a stopped answer may take to end in good order, with its usage. */
const PATIENCE = 10_000;

const empty = (owner) => ({ owner, settings: USUAL, turns: [], draft: "" });
const talk = store(empty(null));
let running = null;

/** @returns {{ settings: import("./playground-body.js").Settings, turns: object[], draft: string }} */
export function useConversation(me) {
    const found = talk.use();
    if (found.owner === me.id) return found;
    running?.abort();
    talk.set(empty(me.id));
    return talk.get();
}

/** Takes new settings or another draft. */
export function change(changed) {
    talk.set({ ...talk.get(), ...changed });
}

/** Asks, after all that was said before. */
export function ask(key, question) {
    const { settings, turns } = talk.get();
    const turn = { id: crypto.randomUUID(), asked: question, answer: begun(performance.now()) };
    change({ turns: [...turns, turn] });
    return listen(turn, key, bodyOf(settings, messages(turns, question)));
}

/** Asks the last question once more, in the place of its answer. */
export function askAgain(key) {
    const { turns } = talk.get();
    const last = turns.at(-1);
    change({ turns: turns.slice(0, -1) });
    return ask(key, last.asked);
}

/** The body that the draft would be sent as. */
export function bodyOfDraft({ settings, turns, draft }) {
    return bodyOf(settings, messages(turns, draft.trim() || "Why is the sky blue?"));
}

/**
 * Ends the answer in good order, so that it comes with its figures. If that takes too long it is cut off; at once if
 * asked twice.
 */
export async function stop() {
    const stopped = running;
    if (!stopped || stopped.stopping) return stopped?.abort();
    const { request } = stopped;
    if (!request) return stopped.abort();
    stopped.stopping = true;
    setTimeout(stopped.abort, PATIENCE);
    await endRequest(request).catch(stopped.abort);
}

/** Forgets all that was said. */
export function clear() {
    running?.abort();
    change({ turns: [] });
}

function messages(turns, question) {
    return [...messagesOf(turns), { role: "user", content: question }];
}

async function listen(turn, key, body) {
    const controller = new AbortController();
    const { signal } = controller;
    const run = { request: null, stopping: false, abort: () => controller.abort() };
    running = run;
    const onResponse = ({ headers }) => {
        run.request = headers.get("x-commonwatt-request-id");
        update(turn, (answer) => ({ ...answer, request: run.request, node: headers.get("x-commonwatt-node") }));
    };
    try {
        for await (const event of stream("/v1/chat/completions", { body, bearer: key, signal, onResponse })) {
            update(turn, (answer) => heard(answer, event, performance.now()));
        }
        update(turn, ended);
    } catch (problem) {
        update(turn, (answer) => (signal.aborted ? left(answer) : failed(answer, problem)));
    }
    if (running === run) running = null;
}

/** A turn that was cleared away meanwhile stays away. */
function update(turn, changed) {
    const { turns } = talk.get();
    change({ turns: turns.map((each) => (each.id === turn.id ? { ...each, answer: changed(each.answer) } : each)) });
}
