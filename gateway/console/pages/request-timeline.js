/** When a request waited, computed and spoke. What is recorded are lengths; where they lie follows from them. */
import { duration } from "../format.js";
import { html } from "../html.js";
import { Lanes } from "./request-lanes.js";
import { OUTCOMES } from "./request-outcomes.js";
import { short } from "./request-names.js";

/**
 * Attempts follow one another, and the last one ends with the request. One that was outdone ran beside the winner until
 * that one's first byte.
 *
 * @returns {{ attempt: object, from: number, to: number }[]} In microseconds after the request came.
 */
export function placed({ attempts, first_byte_microseconds: first, duration_microseconds: end }) {
    let until = end;
    const places = attempts.toReversed().map((attempt) => {
        const beside = attempt.outcome === "outdone";
        const to = beside ? (first ?? end) : until;
        const from = Math.max(0, to - attempt.duration_microseconds);
        if (!beside) until = from;
        return { attempt, from, to };
    });
    return places.toReversed();
}

/** The request's own time, in parts that follow one another. */
export function phases(request) {
    const { first_byte_microseconds: first, duration_microseconds: end, streamed } = request;
    const begun = Math.min(end, ...placed(request).map(({ from }) => from));
    const spoke = Math.max(begun, first ?? end);
    return [
        { kind: "waiting", label: "Waiting for a node", from: 0, to: begun },
        {
            kind: "prompt",
            label: first === null ? "Without a first byte" : "Until the first byte",
            from: begun,
            to: spoke,
        },
        { kind: "answer", label: streamed ? "Streaming the answer" : "Handing the answer over", from: spoke, to: end },
    ].filter(({ from, to }) => to > from);
}

export function Timeline({ request, names }) {
    const own = phases(request);
    const lanes = [
        { label: "Request", value: duration(request.duration_microseconds), bars: own.map(bar), title: told(own) },
    ];
    for (const { attempt, from, to } of placed(request)) {
        const kind = ["completed", "cut_short", "cancelled"].includes(attempt.outcome) ? "good" : "lost";
        const outcome = (OUTCOMES[attempt.outcome]?.label ?? attempt.outcome).toLowerCase();
        lanes.push({
            label: `Try ${attempt.attempt}: ${names.get(attempt.node) ?? short(attempt.node)}`,
            value: duration(attempt.duration_microseconds),
            bars: [{ kind, from, to }],
            title: `From ${duration(from)} to ${duration(to)}, ${outcome}`,
        });
    }
    return html`<${Lanes} lanes=${lanes} end=${request.duration_microseconds} scale=${duration} />
        <dl class="request-legend">
            ${own.map(
                ({ kind, label, from, to }) =>
                    html`<div>
                        <dt><span class=${`swatch request-${kind}`}></span>${label}</dt>
                        <dd>${duration(to - from)}</dd>
                    </div>`,
            )}
        </dl>`;
}

function bar({ kind, from, to }) {
    return { kind, from, to };
}

function told(parts) {
    return parts.map(({ label, from, to }) => `${label}: ${duration(to - from)}`).join(", ");
}
