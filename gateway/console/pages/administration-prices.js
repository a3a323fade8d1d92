/** What all nodes ask. Each node's operator sets it; of one's own nodes on the node's page. */
import { get, useLoaded } from "../api.js";
import { Badge, Busy, Card, Field, Pager, Table, Trouble } from "../components.js";
import { count, moment } from "../format.js";
import { html, useState } from "../html.js";
import { perMillion } from "./node-words.js";

const ROWS = 50;

export function Prices() {
    const load = async (signal) => {
        const [prices, nodes] = await Promise.all(["/api/prices", "/api/nodes"].map((path) => get(path, null, { signal })));
        const names = new Map(nodes.data.map(({ id, name }) => [id, name]));
        return prices.data.map((price) => ({ ...price, node_name: names.get(price.node) }));
    };
    const { value, problem, reload } = useLoaded(load);
    return html`<${Card} title="Prices of all nodes" wide>
        <p class="hint">
            In credits for a million tokens. Operators set their nodes' prices; a node that asks for more than twice what is usual
            gets no work.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${List} prices=${value} />` : !problem && html`<${Busy} />`}
    <//>`;
}

function List({ prices }) {
    const [asked, setAsked] = useState("");
    const [from, setFrom] = useState(0);
    const fits = ({ model_name: model, node_name: name, node }) => [model, name, node].some((text) => text?.includes(asked.trim()));
    const found = prices.filter(fits);
    const search = (event) => {
        setAsked(event.currentTarget.value);
        setFrom(0);
    };
    const part = (each) => ({ price }) => perMillion(price[each]);
    const columns = [
        { label: "Node", render: ({ node, node_name: name }) => html`<a href=${`#/nodes/${node}`}>${name ?? node.slice(0, 8)}</a>` },
        { label: "Model", render: ({ model, model_name: name }) => html`<code>${name ?? `${model.slice(0, 16)}…`}</code>` },
        { label: "Prompt", numeric: true, render: part("prompt") },
        { label: "Cached", numeric: true, render: part("cached") },
        { label: "Answer", numeric: true, render: part("completion") },
        { label: "Counts", render: ({ in_force: now, effective_from: at }) => (now ? html`<${Badge} kind="good">now<//>` : html`from ${moment(at)}`) },
    ];
    const key = ({ version, node, model }) => `${version} ${node} ${model}`;
    return html`<${Field} label="Find" hint=${`${count(found.length)} of ${count(prices.length)} prices`} type="search" value=${asked} onInput=${search} />
        <${Table} caption="Prices" columns=${columns} rows=${found.slice(from, from + ROWS)} rowKey=${key} empty="No price fits." />
        <${Pager}
            onNewer=${from > 0 ? () => setFrom(from - ROWS) : null}
            onOlder=${from + ROWS < found.length ? () => setFrom(from + ROWS) : null}
        />`;
}
