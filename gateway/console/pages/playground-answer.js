/** One answer, as far as it has come: what the events of its stream add up to. Pure, so that time is given from outside. */

/**
 * @typedef {object} Answer
 * @property {'running' | 'done' | 'stopped' | 'failed'} state
 * @property {string} text
 * @property {string} thoughts What a model that thinks says before its answer.
 * @property {number} pieces Pieces of text; a token each, mostly.
 * @property {number} askedAt Milliseconds, as all times here.
 * @property {?number} firstAt When the first piece came.
 * @property {?number} lastAt
 * @property {?string} request
 * @property {?string} node
 * @property {?string} finish OpenAI's `finish_reason`.
 * @property {?object} usage
 * @property {?object} summary What the gateway says in the end: outcome, attempts, tokens, cost, energy.
 * @property {string[]} notes What happened on the way, such as a node that was lost.
 * @property {?object} failure
 */

/** @returns {Answer} */
export function begun(now) {
    return {
        state: "running",
        text: "",
        thoughts: "",
        pieces: 0,
        askedAt: now,
        firstAt: null,
        lastAt: null,
        request: null,
        node: null,
        finish: null,
        usage: null,
        summary: null,
        notes: [],
        failure: null,
    };
}

/** The answer after one more event of its stream. */
export function heard(answer, { data, comment }, now) {
    if (comment) return commented(answer, comment);
    if (!data || data === "[DONE]") return answer;
    const chunk = parsed(data);
    if (!chunk) return answer;
    if (chunk.error) return failed(answer, refusalOf(chunk.error));
    return spoken({ ...answer, usage: chunk.usage ?? answer.usage }, chunk, now);
}

function spoken(answer, { choices }, now) {
    const choice = choices?.[0];
    if (!choice) return answer;
    const finish = choice.finish_reason ?? answer.finish;
    const text = choice.delta?.content ?? "";
    const thoughts = choice.delta?.reasoning_content ?? "";
    if (!text && !thoughts) return { ...answer, finish };
    return {
        ...answer,
        finish,
        text: answer.text + text,
        thoughts: answer.thoughts + thoughts,
        pieces: answer.pieces + 1,
        firstAt: answer.firstAt ?? now,
        lastAt: now,
    };
}

function commented(answer, comment) {
    const [, topic, rest] = /^\s*(\w+) (.*)$/s.exec(comment) ?? [];
    const said = rest?.startsWith("{") ? parsed(rest) : null;
    if (topic === "commonwatt" && said)
        return { ...answer, summary: said, request: said.request ?? answer.request, node: said.node };
    if (comment.includes("node was lost"))
        return { ...answer, notes: [...answer.notes, "A node was lost on the way; another one went on."] };
    return answer;
}

/** The stream is over. Without the gateway's last word something is missing. */
export function ended(answer) {
    if (answer.state !== "running") return answer;
    if (answer.summary) return { ...answer, state: answer.summary.outcome === "completed" ? "done" : "stopped" };
    return failed(answer, {
        status: 0,
        code: null,
        message: "The answer broke off before its end.",
        retryAfter: null,
        field: null,
    });
}

/** It came to nothing more. */
export function failed(answer, failure) {
    return { ...answer, state: "failed", failure };
}

/** The person left it. */
export function left(answer) {
    return answer.state === "running" ? { ...answer, state: "stopped" } : answer;
}

/** An error within a stream has no status of its own. */
function refusalOf({ message, code, param, type }) {
    const status = code === "invalid_api_key" ? 401 : type === "server_error" ? 502 : 400;
    return {
        status,
        code: code ?? null,
        message: String(message ?? "The gateway gave no reason."),
        retryAfter: null,
        field: param ?? null,
    };
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

/**
 * What is shown beside the answer. While it runs, pieces stand in for tokens.
 * @param {Answer} answer
 */
export function figures(answer) {
    const { usage, summary, firstAt, lastAt, askedAt } = answer;
    const completion = summary?.completion_tokens ?? usage?.completion_tokens ?? null;
    const spoken = completion ?? answer.pieces;
    const seconds = firstAt === null ? 0 : (lastAt - firstAt) / 1000;
    return {
        firstToken: firstAt === null ? null : firstAt - askedAt,
        // The first token took what the prompt took; the rest shows the pace.
        pace: spoken > 1 && seconds > 0 ? (spoken - 1) / seconds : null,
        prompt: summary?.prompt_tokens ?? usage?.prompt_tokens ?? null,
        completion: spoken,
        exact: completion !== null,
        cost: summary?.cost ?? usage?.cost ?? null,
        energy: summary?.energy ?? usage?.energy ?? null,
        outcome: summary?.outcome ?? null,
        attempts: summary?.attempts ?? null,
    };
}
