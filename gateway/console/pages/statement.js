/** One party's statement of an epoch: to read, to keep, to print, to verify. */
import { exact, get, getText, useLoaded } from "../api.js";
import { Busy, Button, Card, Copy, Figure, Figures, Heading, Notice, Trouble } from "../components.js";
import { count, credits, sum } from "../format.js";
import { html } from "../html.js";
import { address } from "../router.js";
import { useAction } from "./node-actions.js";
import { download } from "./request-csv.js";
import { Lines, Movements } from "./statement-tables.js";
import { partyInWords, utc } from "./statement-words.js";

export const title = "Statement";

const EPOCH = /^[1-9]\d{0,8}$/;

export default function StatementPage({ me, parameters: { id = "", party = `operator:${me.account}` } }) {
    if (!EPOCH.test(id)) return html`<${Nowhere} />`;
    return html`<${Loaded} key=${`${id} ${party}`} me=${me} epoch=${Number(id)} party=${party} />`;
}

function Loaded({ me, epoch, party }) {
    const { value, problem, reload } = useLoaded((signal) => whole(epoch, party, signal), [epoch, party]);
    if ([400, 403, 404].includes(problem?.status)) return html`<${Nowhere} />`;
    if (problem) return html`<${Frame} epoch=${epoch}><${Trouble} problem=${problem} retry=${reload} /><//>`;
    if (!value) return html`<${Frame} epoch=${epoch}><${Busy} /><//>`;
    const about = partyInWords(party, me);
    return html`<${Frame} epoch=${epoch} about=${about} actions=${html`<${Keep} epoch=${epoch} party=${party} text=${value.text} />`}>
        <${Sheet} ...${value} />
    <//>`;
}

/** The statement as it was logged, what the log knows it by, and names for its models. */
async function whole(epoch, party, signal) {
    const [text, list, prices] = await Promise.all([
        getText(`/api/statements/${epoch}`, { party }, { signal }),
        get("/api/statements", { party, before: epoch + 1, limit: 1 }, { signal }),
        get("/api/prices", null, { signal }),
    ]);
    const names = new Map(prices.data.map(({ model, model_name: name }) => [model, name]));
    return { text, statement: exact(text), digest: list.data.find((each) => each.epoch === epoch)?.document, names };
}

function Frame({ epoch, about, actions, children }) {
    return html`<div class="managing statement">
        <p class="back"><a href=${address("operator")}>Operate a node</a> · <a href=${address("epochs", { id: epoch })}>Epoch ${epoch}</a></p>
        <${Heading} title=${`Statement of epoch ${epoch}`} about=${about}>${actions}<//>
        ${children}
    </div>`;
}

function Nowhere() {
    const action = html`<a class="button" href=${address("operator")}>To your statements</a>`;
    return html`<${Heading} title="Statement" /><${Notice} kind="warning" action=${action}>There is no such statement, or it isn't yours to see.<//>`;
}

/** What can be done with it. */
function Keep({ epoch, party, text }) {
    const { run, busy, problem } = useAction();
    const name = `statement-${epoch}-${party.replace(/[^A-Za-z0-9.-]+/g, "-").slice(0, 80)}`;
    const table = () => run(async () => download(`${name}.csv`, await getText(`/api/statements/${epoch}`, { party, format: "csv" })));
    return html`<${Button} onClick=${() => download(`${name}.json`, text, "application/json")}>Save as JSON<//>
        <${Button} busy=${busy} onClick=${table}>Save as CSV<//>
        <${Button} kind="primary" onClick=${() => print()}>Print<//>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}

function Sheet({ statement, digest, names }) {
    const { opening, lines, movements, closing } = statement;
    const earned = sum(lines.map(({ share }) => share));
    const moved = sum(movements.map(({ nanocredits }) => nanocredits));
    return html`<${Card} title="In short" wide>
            <div class="exact">
                <${Figures}>
                    <${Figure} label="Owed before" value=${credits(opening)} unit="credits" />
                    <${Figure} label="Earned" value=${credits(earned)} unit="credits" />
                    <${Figure} label="Moved" value=${credits(moved)} unit="credits" detail="paid out, given or put right" />
                    <${Figure} label="Owed after" value=${credits(closing)} unit="credits" />
                <//>
            </div>
            <${Facts} statement=${statement} />
        <//>
        <${Card} title="What receipts brought" wide><${Lines} lines=${lines} names=${names} /><//>
        <${Card} title="Paid out, given or put right" wide><${Movements} movements=${movements} /><//>
        <${Card} title="Whether it holds" wide><${Proof} statement=${statement} digest=${digest} /><//>`;
}

function Facts({ statement: { epoch, party, receipts } }) {
    const told = [
        ["Account of the ledger", html`<code>${party}</code>`],
        ["From", utc(epoch.began_at)],
        ["Until", utc(epoch.ended_at)],
        ["Entries of the log", `${count(epoch.first_index)} to ${count(epoch.end_index - 1)}`],
        ["Receipts", count(receipts)],
    ];
    return html`<dl class="facts">${told.map(([word, value]) => html`<div><dt>${word}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Proof({ statement: { root, epoch }, digest }) {
    const command = `commonwatt verify epoch ${location.origin} --epoch ${epoch.number}`;
    const onPage = html`<span class="screen">, and the page <a href="/verify">Verify</a> as well</span>`;
    return html`<div class="lines">
            <p>
                The statement is a document of the public log, and its receipts are a tree of their own. Whether it adds up and is
                in the log says <code>commonwatt verify statement</code> of the file that is saved as JSON${onPage}. Whether every
                receipt of the epoch is counted as it should be, this recomputes from the log:
            </p>
            <${Copy} text=${command} label="Copy the command" />
        </div>
        <dl class="facts digests">
            ${digest && html`<div><dt>SHA-256 of the document</dt><dd><a href=${`/log/document/${digest}`}><code>${digest}</code></a></dd></div>`}
            <div><dt>Root of its receipts</dt><dd><code>${root}</code></dd></div>
        </dl>`;
}
