/** Many payouts at once: a table of what is due, and one of what was paid. */
import { getText, postCsv } from "../api.js";
import { Button, Card, Field, Notice } from "../components.js";
import { count } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { download } from "./request-csv.js";

export function PayoutTables({ onDone }) {
    return html`<${Card} title="As tables" wide><${Due} /><${Paid} onDone=${onDone} /><//>`;
}

function Due() {
    const { run, busy, problem } = useAction();
    const take = () => run(async () => download("payouts-due.csv", await getText("/api/payouts/csv", { state: "due" })));
    return html`<p class="hint">For a bank's or another program's list: who is to get how much, and where.</p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <p><${Button} busy=${busy} onClick=${take}>Save what is due as CSV<//></p>`;
}

/** Takes up what was paid: all of a table, or nothing of it. */
function Paid({ onDone }) {
    const [text, setText] = useState(null);
    const [missing, setMissing] = useState(false);
    const [told, setTold] = useState(null);
    // A file can be chosen anew only in a field that is new.
    const [turn, setTurn] = useState(0);
    const { run, busy, problem, clear } = useAction();
    const choose = async ({ currentTarget: { files } }) => {
        clear();
        setTold(null);
        setMissing(false);
        setText((await files[0]?.text()) ?? null);
    };
    const submit = async (event) => {
        event.preventDefault();
        setMissing(text === null);
        if (text === null) return;
        await run(async () => {
            setTold(await postCsv("/api/payouts/csv", text));
            onDone();
        });
        setText(null);
        setTurn(turn + 1);
    };
    return html`<h3>What was paid</h3>
        <form class="row" onSubmit=${submit} novalidate>
            <${Field}
                key=${turn}
                label="Table of what was paid"
                type="file"
                accept=".csv,text/csv"
                onChange=${choose}
                error=${missing ? "Choose the table first." : undefined}
                hint="CSV with the columns id and reference. It is taken up as a whole or not at all, and twice does no harm."
            />
            <${Button} kind="primary" type="submit" busy=${busy}>Take it up<//>
        </form>
        ${told && html`<${Notice} kind="good">${inWords(told)}<//>`}
        ${problem && html`<${Refused} message=${problem.message} />`}`;
}

function inWords({ paid, paid_before: before }) {
    const payouts = (number) => `${count(number)} ${number === 1 ? "payout" : "payouts"}`;
    return `${payouts(paid)} paid now${before > 0 ? `, and ${payouts(before)} before` : ""}.`;
}

/** A refusal names each wrong line in a sentence. */
function Refused({ message }) {
    const [said, ...lines] = message.split(/\s(?=Line \d+: )/);
    return html`<${Notice} kind="error">
        ${said}
        ${lines.length > 0 && html`<ul class="wrong-lines">${lines.map((line) => html`<li key=${line}>${line}</li>`)}</ul>`}
    <//>`;
}
