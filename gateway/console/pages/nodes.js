/** All nodes of the account, by region; an administrator's are those of everybody. With an id: that one. */
import { get, useLoaded } from "../api.js";
import { Badge, Busy, Card, Field, Heading, Pager, Table, Tier, Trouble } from "../components.js";
import { ago, count, joules } from "../format.js";
import { html, useState } from "../html.js";
import { Node } from "./node.js";
import { PauseButton } from "./node-actions.js";
import { usePolling } from "./node-polling.js";
import { byRegion, microjoulesPerToken, modelNames, priceText, state, tierOf } from "./node-words.js";

export const title = "Nodes";

/** Each row asks for the node's work, energy and prices. */
const ROWS = 20;
const FRESH_SECONDS = 10;

export default function Page({ me, parameters, navigate }) {
    const { id } = parameters;
    const page = id ? html`<${Node} key=${id} id=${id} navigate=${navigate} />` : html`<${Nodes} me=${me} />`;
    return html`<div class="managing">${page}</div>`;
}

function Nodes({ me }) {
    const { value: nodes, problem, reload } = useLoaded((signal) => get("/api/nodes", null, { signal }).then(({ data }) => data));
    usePolling(reload, FRESH_SECONDS);
    const about = me.is_admin ? "Everybody's, since you are an administrator." : "Those of your account.";
    return html`<${Heading} title="Nodes" about=${about}>
            <a class="button primary" href="#/operator">Add a node</a>
        <//>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${nodes ? html`<${List} nodes=${nodes} reload=${reload} />` : !problem && html`<${Busy} />`}`;
}

function List({ nodes, reload }) {
    const [asked, setAsked] = useState("");
    const [from, setFrom] = useState(0);
    if (nodes.length === 0) {
        return html`<p class="empty">No node has joined yet. <a href="#/operator">Add one</a>: it takes a minute.</p>`;
    }
    const found = nodes.filter((node) => fits(node, asked.trim().toLowerCase()));
    const start = from < found.length ? from : 0;
    const search = (event) => {
        setAsked(event.currentTarget.value);
        setFrom(0);
    };
    return html`<p class="muted">${summary(nodes)}</p>
        ${nodes.length > 5 &&
        html`<${Field} label="Find a node" hint="By name, model, region or id" type="search" value=${asked} onInput=${search} />`}
        ${found.length === 0 && html`<p class="empty">No node fits.</p>`}
        <${Shown} nodes=${found.slice(start, start + ROWS)} reload=${reload} />
        <${Pager}
            onNewer=${start > 0 ? () => setFrom(start - ROWS) : null}
            onOlder=${start + ROWS < found.length ? () => setFrom(start + ROWS) : null}
            shown=${Math.min(ROWS, found.length)}
        />`;
}

function summary(nodes) {
    const connected = nodes.filter((node) => node.connected).length;
    const running = nodes.reduce((all, { status }) => all + (status?.running ?? 0), 0);
    return `${count(connected)} of ${count(nodes.length)} connected, ${count(running)} ${running === 1 ? "request" : "requests"} under way.`;
}

function fits(node, asked) {
    const { id, name, offer } = node;
    return [id, name, offer?.region ?? "", ...modelNames(node)].some((text) => text.toLowerCase().includes(asked));
}

/** The rows in view, with what must be asked for each. Whatever can't be had of one leaves the others alone. */
function Shown({ nodes, reload }) {
    const ids = nodes.map(({ id }) => id).join();
    const { value: details = {}, reload: again } = useLoaded((signal) => all(nodes, signal), [ids]);
    usePolling(again, FRESH_SECONDS);
    const changed = () => {
        reload();
        again();
    };
    const rows = nodes.map((node) => ({ ...node, ...details[node.id] }));
    return byRegion(rows).map(
        ({ region, place, nodes: members }) => html`<${Card} key=${region} title=${place} wide>
            <${Table} caption=${`Nodes in ${place}`} columns=${columns(changed)} rows=${members} />
        <//>`,
    );
}

async function all(nodes, signal) {
    const known = await Promise.all(nodes.map(async ({ id }) => [id, await one(id, signal)]));
    return Object.fromEntries(known);
}

async function one(id, signal) {
    const ask = (path, query) => get(path, query, { signal }).catch(() => null);
    const [detail, energy, prices] = await Promise.all([
        ask(`/api/nodes/${id}`),
        ask(`/api/nodes/${id}/energy`),
        ask("/api/prices", { node: id }),
    ]);
    return { work: detail?.work, energy, prices: prices?.data.filter((price) => price.in_force) };
}

const columns = (changed) => [
    { label: "Node", render: (node) => html`<a href=${`#/nodes/${node.id}`}>${node.name}</a>` },
    { label: "State", render: (node) => html`<${State} node=${node} />` },
    { label: "Models, credits per million tokens", render: (node) => html`<${Models} node=${node} />` },
    { label: "Speed", numeric: true, render: (node) => speed(node) },
    { label: "Energy per token", numeric: true, render: (node) => html`<${PerToken} node=${node} />` },
    { label: "Runs", numeric: true, render: ({ status, offer }) => `${status?.running ?? 0} of ${offer?.slots ?? "?"}` },
    { label: "Work", render: (node) => html`<${PauseButton} node=${node} onDone=${changed} />` },
];

function State({ node }) {
    const { kind, word } = state(node);
    return html`<${Badge} kind=${kind}>${word}<//>
        ${!node.connected && html`<br /><span class="hint">last seen ${ago(node.last_seen_at)}</span>`}`;
}

function Models({ node }) {
    const names = modelNames(node);
    if (names.length === 0) return html`<span class="hint">has offered nothing yet</span>`;
    const price = (name) => node.prices?.find(({ model_name: named }) => named === name);
    return html`<ul class="plain">
        ${names.map((name) => {
            const found = price(name);
            return html`<li><code>${name}</code> ${found && html`<span class="hint">${priceText(found.price)}</span>`}</li>`;
        })}
    </ul>`;
}

function speed({ work, offer }) {
    if (work?.tokens_per_second) return `${count(work.tokens_per_second)} tokens/s`;
    const claimed = offer?.models.find((model) => model.tokens_per_second)?.tokens_per_second;
    return claimed ? `${count(claimed)} tokens/s claimed` : "–";
}

function PerToken({ node: { energy, offer } }) {
    const perToken = microjoulesPerToken(energy?.costs);
    if (perToken === null) return "–";
    return html`${joules(perToken)} <${Tier} tier=${tierOf(energy, offer?.energy.tier)} />`;
}
