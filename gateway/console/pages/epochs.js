/** The epochs that are closed, and what the whole federation did in each. */
import { get, post, useLoaded, useTurning } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Heading, Notice, Pager, Table, Trouble } from "../components.js";
import { count, credits, grams, joules, moment, sum } from "../format.js";
import { html, useState } from "../html.js";
import { address } from "../router.js";
import { OneEpoch } from "./epoch.js";
import { EpochChart } from "./epoch-chart.js";
import { useAction } from "./node-actions.js";

export const title = "Epochs";

const EPOCHS = 50;
const ABOUT = "The log is closed from time to time. What all nodes did since the time before is added up, and everybody who earned gets a statement.";

export default function Epochs({ me, parameters: { id } }) {
    return id === undefined ? html`<${All} me=${me} />` : html`<${OneEpoch} key=${id} me=${me} id=${id} />`;
}

function All({ me }) {
    const [asked, setAsked] = useState(false);
    const [closed, setClosed] = useState(null);
    const { before, steps, restart } = useTurning();
    const load = (signal) => get("/api/epochs", { before, limit: EPOCHS }, { signal });
    const { value, problem, reload } = useLoaded(load, [before]);
    const done = (number) => {
        setAsked(false);
        setClosed(number);
        restart();
        reload();
    };
    const actions = me.is_admin && html`<${Button} onClick=${() => setAsked(true)}>Close the epoch now …<//>`;
    return html`<div class="managing">
        <${Heading} title=${title} about=${ABOUT}>${actions}<//>
        ${closed && html`<${Notice} kind="good">Epoch <a href=${address("epochs", { id: closed })}>${closed}</a> is closed.<//>`}
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`${value.data.length > 1 && html`<${Card} title="Epoch by epoch" wide><${EpochChart} epochs=${value.data} /><//>`}
                  <${Card} title="Closed epochs" wide>
                      <${List} epochs=${value.data} /><${Pager} ...${steps(value.next)} shown=${value.data.length} />
                  <//>`
            : !problem && html`<${Busy} />`}
        ${asked && html`<${CloseNow} onClose=${() => setAsked(false)} onDone=${done} />`}
    </div>`;
}

function List({ epochs }) {
    const of = (label, told) => ({ label, numeric: true, render: ({ totals }) => told(totals) });
    const columns = [
        { label: "Epoch", render: (epoch) => html`<${Whole} epoch=${epoch} />` },
        { label: "Until", render: ({ ended_at: at }) => moment(at) },
        of("Receipts", ({ receipts }) => count(receipts)),
        of("Tokens", ({ prompt_tokens: prompt, completion_tokens: completion }) => count(sum([prompt, completion]))),
        of("Customers paid", ({ income }) => credits(income)),
        of("Paid out", ({ paid_out: paid }) => credits(paid)),
        of("Energy", ({ microjoules }) => joules(microjoules)),
        of("CO₂e", ({ micrograms_co2e: micrograms }) => grams(micrograms)),
    ];
    const empty = "None is closed yet.";
    return html`<${Table} caption="Closed epochs, newest first" columns=${columns} rows=${epochs} rowKey=${({ number }) => number} empty=${empty} />`;
}

function Whole({ epoch: { number, differing } }) {
    const differs = differing.nanocredits !== 0 && html` <${Badge} kind="bad">ledger differs<//>`;
    return html`<a href=${address("epochs", { id: number })} aria-label=${`Epoch ${number}`}>${number}</a>${differs}`;
}

function CloseNow({ onClose, onDone }) {
    const { run, busy, problem } = useAction();
    const press = () => run(async () => onDone((await post("/api/epochs")).number));
    return html`<${Dialog} title="Close the epoch now?" onClose=${onClose}>
        <p>
            Everybody gets a statement of what the log has until now, and what is owed to them becomes due. The next epoch begins
            at once. A closed epoch stays as it is for ever.
        </p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <div class="actions">
            <${Button} onClick=${onClose}>Leave it open<//>
            <${Button} kind="primary" busy=${busy} onClick=${press}>Close it<//>
        </div>
    <//>`;
}
