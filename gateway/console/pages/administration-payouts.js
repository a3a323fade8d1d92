/** What is owed to operators and authors and leaves the gateway: due, held, paid. */
import { get, patch, useLoaded, useTurning } from "../api.js";
import { Busy, Button, Card, Choice, Pager, Table, Trouble } from "../components.js";
import { credits, moment } from "../format.js";
import { html, useState } from "../html.js";
import { PayoutDialog } from "./administration-payout-dialog.js";
import { PayoutTables } from "./administration-payout-tables.js";
import { useAction } from "./node-actions.js";
import { Standing, WHICH } from "./payout-words.js";
import { partyInWords } from "./statement-words.js";

const ROWS = 50;

export function Payouts({ me }) {
    const [state, setState] = useState("due");
    const { before, steps, restart } = useTurning();
    const load = (signal) => get("/api/payouts", { state, before, limit: ROWS }, { signal });
    const { value, problem, reload } = useLoaded(load, [state, before]);
    const choose = (another) => {
        setState(another);
        restart();
    };
    return html`<${Card} title="Payouts" wide>
            <p class="hint">
                Each close of an epoch makes a payout of what somebody is owed. Whoever moves the money, a person or a program, pays
                what is due and says so here: in that moment it leaves the ledger.
            </p>
            <div class="filters"><${Choice} label="State" value=${state} options=${WHICH} onChange=${choose} /></div>
            ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
            ${value
                ? html`<${List} payouts=${value.data} me=${me} onDone=${reload} />
                      <${Pager} ...${steps(value.next)} shown=${value.data.length} />`
                : !problem && html`<${Busy} />`}
        <//>
        <${PayoutTables} onDone=${reload} />`;
}

function List({ payouts, me, onDone }) {
    const [asked, setAsked] = useState(null);
    const columns = [
        { label: "Epoch", key: "epoch" },
        { label: "To", render: ({ party }) => html`<span title=${party}>${partyInWords(party, me)}</span>` },
        { label: "Where", render: ({ destination, account }) => html`<${Where} destination=${destination} account=${account} />` },
        { label: "State", render: (payout) => html`<${Standing} payout=${payout} />` },
        { label: "Since", render: ({ changed_at: at }) => moment(at) },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
        { label: "Actions", render: (payout) => html`<${Actions} payout=${payout} me=${me} onAsk=${setAsked} onDone=${onDone} />` },
    ];
    return html`<${Table} caption="Payouts, newest first" columns=${columns} rows=${payouts} empty="There is none." />
        ${asked && html`<${PayoutDialog} ...${asked} onClose=${() => setAsked(null)} onDone=${onDone} />`}`;
}

function Where({ destination, account }) {
    if (account === null) return html`<span class="muted">nobody claims it</span>`;
    return destination ?? html`<span class="muted">not said yet</span>`;
}

function Actions({ payout, me, onAsk, onDone }) {
    const { run, busy, problem } = useAction();
    const whose = `${partyInWords(payout.party, me)}, epoch ${payout.epoch}`;
    const ask = (what, text, kind = "") => html`<${Button}
        kind=${`small ${kind}`}
        onClick=${() => onAsk({ what, payout, whose })}
        aria-label=${`${text}: ${whose}`}
    >
        ${text} …
    <//>`;
    const release = async () => {
        if (await run(() => patch(`/api/payouts/${payout.id}`, { state: "due" }))) onDone();
    };
    if (!["due", "held"].includes(payout.state)) return null;
    return html`<div class="actions">
            ${payout.state === "due"
                ? html`${ask("paid", "Paid")}${ask("held", "Hold")}`
                : html`<${Button} kind="small" busy=${busy} onClick=${release} aria-label=${`Release: ${whose}`}>Release<//>`}
            ${ask("cancelled", "Cancel", "danger")}
        </div>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}
