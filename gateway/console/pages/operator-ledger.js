/** The lines of the ledger that moved what nodes earned. */
import { get, useLoaded } from "../api.js";
import { Busy, Card, Pager, Table, Trouble } from "../components.js";
import { credits, moment } from "../format.js";
import { html, useState } from "../html.js";

const LINES = 100;

export function Ledger({ me }) {
    const [turned, setTurned] = useState([]);
    const before = turned.at(-1);
    const load = (signal) => get("/api/ledger", { limit: LINES, before }, { signal });
    const { value, problem, reload } = useLoaded(load, [before]);
    const own = value?.data.filter(({ account }) => account === `operator:${me.account}`) ?? [];
    return html`<${Card} title="Ledger" wide>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${Lines} lines=${own} last=${!value.next} />` : !problem && html`<${Busy} />`}
        <${Pager}
            onNewer=${before ? () => setTurned(turned.slice(0, -1)) : null}
            onOlder=${value?.next ? () => setTurned([...turned, value.next]) : null}
            shown=${own.length}
        />
    <//>`;
}

function Lines({ lines, last }) {
    const columns = [
        { label: "When", render: ({ created_at: at }) => moment(at, { seconds: true }) },
        { label: "What", render: ({ kind, reason }) => html`${kind.replaceAll("_", " ")} ${reason && html`<span class="hint">${reason}</span>`}` },
        { label: "Request", render: ({ request }) => (request ? html`<code>${request.slice(0, 13)}…</code>` : "–") },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    const empty = last ? "Nothing was earned yet." : "No earnings among these lines. Older ones may have some.";
    return html`<${Table} caption="Ledger, newest first" columns=${columns} rows=${lines} rowKey=${({ event }) => event} empty=${empty} />`;
}
