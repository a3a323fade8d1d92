/** What was found, in words. */
import { Card, Notice } from "../components.js";
import { html } from "../html.js";

const WORDS = {
    identity: "Which receipt it is",
    signature: "The gateway's signature",
    node: "The node's signature",
    cost: "Cost",
    shares: "Shares",
    energy: "Energy of the machine",
    site: "Energy of the site",
    carbon: "Carbon",
    log: "The log",
    witnesses: "The log's witnesses",
    request: "Your request",
    answer: "The answer",
    statement: "Whose statement it is",
    sums: "What is owed",
    receipts: "Its receipts",
    lines: "Its lines",
};
const MARKS = {
    true: { mark: "✓", kind: "good", word: "holds" },
    false: { mark: "✗", kind: "bad", word: "does not hold" },
    null: { mark: "–", kind: "unchecked", word: "not checked" },
};

export function Findings({ found: { verdict, unreadable } }) {
    if (unreadable) return html`<${Notice} kind="error" title="This can't be read.">${unreadable.why}<//>`;
    const { holds, summary, findings } = verdict;
    const fails = findings.some((finding) => finding.holds === false);
    return html`<${Card} title="What was found">
        <${Notice} kind=${holds ? "good" : fails ? "error" : "warning"}>${summary}<//>
        <ul class="findings">${findings.map((finding) => html`<${Finding} key=${finding.what} ...${finding} />`)}</ul>
    <//>`;
}

function Finding({ what, holds, says }) {
    const { mark, kind, word } = MARKS[holds];
    return html`<li class=${kind}>
        <span class="mark" role="img" aria-label=${word}>${mark}</span>
        <div>
            <h3>${WORDS[what] ?? what}</h3>
            <p>${says}</p>
        </div>
    </li>`;
}
