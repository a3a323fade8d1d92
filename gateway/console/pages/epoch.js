/** One closed epoch: what was done in it, and whose statements there are. */
import { get, useLoaded } from "../api.js";
import { Busy, Card, Copy, Figure, Figures, Heading, Notice, Pager, Trouble } from "../components.js";
import { count, credits, grams, joules, moment } from "../format.js";
import { html, useState } from "../html.js";
import { address } from "../router.js";
import { StatementList } from "./statement-list.js";

const EPOCH = /^[1-9]\d{0,8}$/;
const ROWS = 100;

export function OneEpoch({ me, id }) {
    const number = EPOCH.test(id) ? Number(id) : null;
    const load = async (signal) => {
        if (number === null) return {};
        const one = { before: number + 1, limit: 1 };
        const [epochs, statements] = await Promise.all([
            get("/api/epochs", one, { signal }),
            get("/api/statements", { ...one, party: me.is_admin ? "all" : null }, { signal }),
        ]);
        return {
            epoch: epochs.data.find((epoch) => epoch.number === number),
            statements: statements.data.filter(({ epoch }) => epoch === number),
        };
    };
    const { value, problem, reload } = useLoaded(load, [number]);
    if (value && !value.epoch) return html`<${Nowhere} />`;
    return html`<div class="managing">
        <p class="back"><a href=${address("epochs")}>All epochs</a></p>
        <${Heading} title=${`Epoch ${number ?? ""}`} />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${Whole} epoch=${value.epoch} /><${Statements} statements=${value.statements} me=${me} />`
            : !problem && html`<${Busy} />`}
    </div>`;
}

function Nowhere() {
    const action = html`<a class="button" href=${address("epochs")}>All epochs</a>`;
    return html`<${Heading} title="Epochs" /><${Notice} kind="warning" action=${action}>There is no such epoch, or it isn't closed yet.<//>`;
}

function Whole({ epoch }) {
    const { totals, differing } = epoch;
    return html`<${Card} title="The whole federation" wide>
        ${differing.nanocredits !== 0 &&
        html`<${Notice} kind="error" title="The ledger differs.">
            It has settled ${credits(differing.nanocredits)} credits otherwise than the receipts say.
        <//>`}
        <div class="exact">
            <${Figures}>
                <${Figure} label="Customers paid" value=${credits(totals.income)} unit="credits" />
                <${Figure} label="Paid out" value=${credits(totals.paid_out)} unit="credits" />
                <${Figure}
                    label="Receipts"
                    value=${count(totals.receipts)}
                    detail=${totals.alone > 0 ? `${count(totals.alone)} signed by the gateway alone` : "all signed by both"}
                />
                <${Figure}
                    label="Tokens of prompts"
                    value=${count(totals.prompt_tokens)}
                    detail=${`${count(totals.cached_tokens)} of them cached`}
                />
                <${Figure} label="Tokens of answers" value=${count(totals.completion_tokens)} />
                <${Figure} label="Energy of nodes" value=${joules(totals.microjoules)} detail="as attributed" />
                <${Figure} label="Energy of their sites" value=${joules(totals.facility_microjoules)} detail="with cooling and losses" />
                <${Figure} label="CO₂e" value=${grams(totals.micrograms_co2e)} detail="where the grid is known" />
            <//>
        </div>
        <${Facts} epoch=${epoch} />
    <//>`;
}

function Facts({ epoch: { number, first_index: first, end_index: end, began_at: began, ended_at: ended, document: digest } }) {
    const told = [
        ["From", moment(began, { seconds: true })],
        ["Until", moment(ended, { seconds: true })],
        ["Entries of the log", `${count(first)} to ${count(end - 1)}`],
        ["Document", html`<a href=${`/log/document/${digest}`}><code>${digest}</code></a>`],
    ];
    return html`<dl class="facts">${told.map(([word, value]) => html`<div><dt>${word}</dt><dd>${value}</dd></div>`)}</dl>
        <p class="hint">Whoever doesn't take the gateway's word recomputes all of it from the public log:</p>
        <${Copy} text=${`commonwatt verify epoch ${location.origin} --epoch ${number}`} label="Copy the command" />`;
}

function Statements({ statements, me }) {
    const [from, setFrom] = useState(0);
    const empty = me.is_admin ? "Nobody earned anything in it." : "Nothing of it is yours.";
    return html`<${Card} title=${me.is_admin ? "Everybody's statements" : "Your statements"} wide>
        <${StatementList} statements=${statements.slice(from, from + ROWS)} me=${me} empty=${empty} ofOneEpoch />
        <${Pager}
            onNewer=${from > 0 ? () => setFrom(from - ROWS) : null}
            onOlder=${from + ROWS < statements.length ? () => setFrom(from + ROWS) : null}
        />
    <//>`;
}
