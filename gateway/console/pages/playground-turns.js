/** What was asked and answered, each answer with its figures. */
import { Button, Figure, Figures, Notice, Tier } from "../components.js";
import { count, duration, figure, grams, joules } from "../format.js";
import { html, useEffect, useRef } from "../html.js";
import { address } from "../router.js";
import { advice } from "./playground-advice.js";
import { figures } from "./playground-answer.js";
import { short } from "./request-names.js";

const ENDINGS = {
    cut_short: "Credit or a limit ended it: you pay for what came.",
    cancelled: "You stopped it: you pay for what came.",
};

/** The conversation, kept at its end while it grows. */
export function Turns({ turns, names, onAgain }) {
    const region = useRef(null);
    const atEnd = useRef(true);
    useEffect(() => {
        if (atEnd.current) region.current.scrollTop = region.current.scrollHeight;
    });
    const scrolled = ({ target }) => {
        atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
    };
    const again = (turn) => turn === turns.at(-1) && turn.answer.state !== "running" && onAgain;
    return html`<div
        class="playground-turns"
        ref=${region}
        onScroll=${scrolled}
        role="region"
        aria-label="Conversation"
        tabindex="0"
    >
        ${turns.length === 0 && html`<p class="empty">Nothing was said yet.</p>`}
        ${turns.map((turn) => html`<${Turn} key=${turn.id} turn=${turn} names=${names} onAgain=${again(turn)} />`)}
        <p class="unseen" role="status">${announced(turns.at(-1)?.answer)}</p>
    </div>`;
}

/** For those who hear the page: each token by itself would be noise. */
function announced(answer) {
    if (!answer) return "";
    if (answer.state === "running") return "The answer is coming.";
    return answer.state === "failed" ? "" : `The answer: ${answer.text}`;
}

function Turn({ turn: { asked, answer }, names, onAgain }) {
    return html`<article class="playground-turn">
        <h3 class="unseen">You asked</h3>
        <p class="playground-asked">${asked}</p>
        <h3 class="unseen">The answer</h3>
        ${answer.thoughts && html`<${Thoughts} text=${answer.thoughts} />`}
        <p class="playground-said" aria-busy=${answer.state === "running"}>
            ${answer.text}${answer.state === "running" && html`<span class="playground-cursor" aria-hidden="true"></span>`}
        </p>
        ${answer.notes.map((note) => html`<p class="hint">${note}</p>`)}
        ${answer.failure && html`<${Failure} failure=${answer.failure} />`} ${ending(answer)}
        <${AnswerFigures} answer=${answer} names=${names} />
        ${onAgain && html`<${Button} kind="quiet" onClick=${onAgain}>Try again<//>`}
    </article>`;
}

function Thoughts({ text }) {
    return html`<details>
        <summary>Its thoughts</summary>
        <p class="playground-said">${text}</p>
    </details>`;
}

function Failure({ failure }) {
    return html`<${Notice} kind="error">${failure.message} <span class="playground-advice">${advice(failure)}</span><//>`;
}

function ending({ state, finish, summary }) {
    const said =
        ENDINGS[summary?.outcome] ?? (finish === "length" && "It reached “Most tokens”, or the end of the context.");
    if (said) return html`<p class="hint">${said}</p>`;
    return (
        state === "stopped" &&
        html`<p class="hint">You left it before its end: you pay for what came, and no figures did.</p>`
    );
}

/** What is known of the answer, while it runs and when it is over. */
function AnswerFigures({ answer, names }) {
    const { firstToken, pace, prompt, completion, exact, cost, energy, attempts } = figures(answer);
    if (firstToken === null && prompt === null) return null;
    const { node, request } = answer;
    const named = node && (names.get(node) ?? short(node));
    const link = request && html`<a href=${address("requests", { id: request })}>${short(request)}</a>`;
    return html`<${Figures}>
        ${firstToken !== null && html`<${Figure} label="First token" value=${duration(firstToken * 1000)} />`}
        ${pace !== null && html`<${Figure} label="Pace" value=${figure(pace)} unit="tokens/s" />`}
        <${Figure}
            label="Tokens"
            value=${exact ? count(completion) : `≈ ${count(completion)}`}
            detail=${prompt !== null && `and ${count(prompt)} of the prompt`}
        />
        ${cost !== null && html`<${Figure} label="Cost" value=${cost} unit="credits" />`}
        ${energy && html`<${Energy} energy=${energy} />`}
        ${node && html`<${Figure} label="Node" value=${named} title=${node} detail=${tried(attempts)} />`}
        ${request && html`<${Figure} label="Request" value=${link} title=${request} />`}
    <//>`;
}

function Energy({ energy: { joules: amount, interval_90: interval, tier, g_co2e: carbon, status } }) {
    const mark = html`<${Tier} tier=${tier} />`;
    const unknown = html`<${Figure} label="Energy" value=${html`– ${mark}`} detail="not believed, so not shown" />`;
    if (amount === undefined) return unknown;
    const between = interval && `${joules(interval[0] * 1e6)} to ${joules(interval[1] * 1e6)}, 9 times in 10`;
    return html`<${Figure}
            label=${status === "provisional" ? "Energy so far" : "Energy"}
            value=${html`${joules(amount * 1e6)} ${mark}`}
            detail=${between}
        />
        ${carbon !== undefined && html`<${Figure} label="Carbon" value=${grams(carbon * 1e6)} unit="CO₂e" />`}`;
}

function tried(attempts) {
    return attempts > 1 && `after ${count(attempts)} tries`;
}
