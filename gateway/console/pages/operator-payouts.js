/** What is paid to one's account, when, and where to. */
import { get, put, useLoaded, useTurning } from "../api.js";
import { Busy, Button, Card, Field, Figure, Figures, Notice, Pager, Table, Trouble, useFirstWrong } from "../components.js";
import { credits, moment, sum } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { Standing } from "./payout-words.js";
import { partyInWords } from "./statement-words.js";

const ROWS = 20;
/** Payouts that wait are few: each close of an epoch makes one at most for each who earns. */
const MOST_OPEN = 200;
const LONGEST = 500;
const ABOUT = "When an epoch is closed, what is owed becomes a payout, from the gateway's minimum on. Less than that waits for the next close.";

export function Payouts({ me }) {
    const { before, steps } = useTurning();
    const load = async (signal) => {
        const own = (query) => get("/api/payouts", { account: me.account, ...query }, { signal });
        const [balance, due, held, page, destination] = await Promise.all([
            get("/api/ledger/balance", null, { signal }),
            own({ state: "due", limit: MOST_OPEN }),
            own({ state: "held", limit: MOST_OPEN }),
            own({ before, limit: ROWS }),
            get("/api/payouts/destination", null, { signal }),
        ]);
        return { owed: balance.earned.nanocredits, due: due.data, held: held.data, page, destination };
    };
    const { value, problem, reload } = useLoaded(load, [before, me.account]);
    return html`<${Card} title="Payouts" wide>
        <p class="hint">${ABOUT}</p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${Open} ...${value} />
                  <${List} payouts=${value.page.data} me=${me} />
                  <${Pager} ...${steps(value.page.next)} shown=${value.page.data.length} />
                  <${Where} destination=${value.destination} onDone=${reload} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

/** What is owed, and what of it is on its way. */
function Open({ owed, due, held, destination }) {
    const amount = (payouts) => credits(sum(payouts.map(({ nanocredits }) => nanocredits)));
    const nowhere = due.length > 0 && destination.destination === null;
    return html`${nowhere && html`<${Notice} kind="warning">Something is due to you, and nobody knows where to pay it. Say so below.<//>`}
        <div class="exact">
            <${Figures}>
                <${Figure} label="Owed to your nodes now" value=${credits(owed)} unit="credits" />
                <${Figure} label="To be paid next" value=${amount(due)} unit="credits" />
                <${Figure} label="Held" value=${amount(held)} unit="credits" detail=${held[0]?.reason} />
            <//>
        </div>`;
}

function List({ payouts, me }) {
    const columns = [
        { label: "Epoch", key: "epoch" },
        { label: "Of", render: ({ party }) => partyInWords(party, me) },
        { label: "State", render: (payout) => html`<${Standing} payout=${payout} />` },
        { label: "Since", render: ({ changed_at: at }) => moment(at) },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    return html`<${Table} caption="Payouts, newest first" columns=${columns} rows=${payouts} empty="There was none yet." />`;
}

function Where({ destination: { destination, set_at: at }, onDone }) {
    const [typed, setTyped] = useState(null);
    const [errors, setErrors] = useState({});
    const [saved, setSaved] = useState(false);
    const { run, busy, problem, clear } = useAction();
    const form = useFirstWrong(errors);
    const text = typed ?? destination ?? "";
    const type = ({ currentTarget: { value } }) => {
        setTyped(value);
        setErrors({});
        setSaved(false);
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (text.trim() === "") return setErrors({ destination: "Say where you are paid, such as an IBAN." });
        if (await run(() => put("/api/payouts/destination", { destination: text.trim() }))) {
            setTyped(null);
            setSaved(true);
            onDone();
        }
    };
    const hint = html`In words that whoever pays understands, such as an IBAN. Administrators see it, and nobody else.${at && html` Set ${moment(at)}.`}`;
    return html`<h3>Where you are paid</h3>
        ${saved && html`<${Notice} kind="good">You are paid there from now on.<//>`}
        <form class="row" ref=${form} onSubmit=${submit} novalidate>
            <${Field}
                label="Destination"
                autocomplete="off"
                maxlength=${LONGEST}
                value=${text}
                onInput=${type}
                error=${errors.destination ?? problem?.message}
                hint=${hint}
            />
            <${Button} kind="primary" type="submit" busy=${busy}>Set it<//>
        </form>`;
}
