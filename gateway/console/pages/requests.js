/** What was asked, newest first, and what became of it. With an id in the address, that one request. */
import { get, useLoaded } from "../api.js";
import { Busy, Button, Heading, Pager, Table, Tier, Trouble } from "../components.js";
import { count, credits, duration, joules, moment, sum } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { address } from "../router.js";
import { csv, download } from "./request-csv.js";
import { Filters, filtersOf } from "./request-filters.js";
import { modelsKnown, named, nodesKnown, short } from "./request-names.js";
import { Outcome } from "./request-outcomes.js";
import { Request } from "./request.js";

export const title = "Requests";

/** What was listed last: the way back from a request leads there. */
let listed = {};

export default function Page(properties) {
    const { id } = properties.parameters;
    useEffect(() => {
        document.title = `${id ? "Request" : title} · Commonwatt`;
        document.querySelector("main h1")?.focus({ preventScroll: true });
        scrollTo(0, 0);
    }, [id]);
    if (id) return html`<${Request} key=${id} id=${id} list=${address("requests", listed)} />`;
    return html`<${Requests} ...${properties} />`;
}

function Requests({ me, parameters, navigate }) {
    const filters = filtersOf(parameters);
    const { before } = parameters;
    listed = { ...filters, before };
    const [newer, setNewer] = useState([]);
    const page = useLoaded((signal) => get("/api/requests", listed, { signal }), [JSON.stringify(listed)]);
    const keys = useLoaded(() => get("/api/keys")).value?.data ?? [];
    const nodes = useLoaded(nodesKnown).value ?? [];
    const models = useLoaded(modelsKnown).value ?? [];
    const names = { key: named(keys), node: named(nodes) };
    const rows = page.value?.data ?? [];

    const narrow = (changed) => {
        setNewer([]);
        navigate("requests", changed);
    };
    const older = () => {
        setNewer([...newer, before]);
        navigate("requests", { ...filters, before: page.value.next });
    };
    const back = () => {
        setNewer(newer.slice(0, -1));
        navigate("requests", { ...filters, before: newer.at(-1) });
    };
    const take = () => download("requests.csv", csv(columnsOfFile(names), rows));
    return html`<${Heading} title="Requests" about="Everything that your account’s keys have asked, with what it took.">
            <${Button} busy=${page.loading} onClick=${page.reload}>Refresh<//>
            <${Button} disabled=${rows.length === 0} onClick=${take}>Download CSV<//>
        <//>
        <${Filters} me=${me} filters=${filters} keys=${keys} nodes=${nodes} models=${models} onChange=${narrow} />
        ${page.problem && html`<${Trouble} problem=${page.problem} retry=${page.reload} />`}
        ${page.loading && !page.value && html`<${Busy} />`}
        ${page.value && !page.problem && html`<${List} rows=${rows} names=${names} filters=${filters} />`}
        <${Pager} shown=${rows.length} onNewer=${before && back} onOlder=${page.value?.next && older} />`;
}

function List({ rows, names, filters }) {
    const empty = Object.keys(filters).length > 0
        ? "No request is like that."
        : html`Nothing was asked yet. <a href=${address("playground")}>Ask something in the playground.</a>`;
    return html`<${Table} caption="Requests, newest first" columns=${columns(names)} rows=${rows} empty=${empty} />
        ${rows.length > 0 && html`<p class="request-sums">${sums(rows)}</p>`}`;
}

function columns({ key, node }) {
    return [
        {
            label: "Started",
            render: ({ id, started_at: at }) =>
                html`<a href=${address("requests", { id })}>${moment(at, { seconds: true })}</a>`,
        },
        { label: "Model", render: ({ model }) => html`<span class="request-name">${model}</span>` },
        { label: "Outcome", render: ({ outcome }) => html`<${Outcome} word=${outcome} />` },
        {
            label: "Key",
            render: (row) => html`<span class="request-name">${key.get(row.key) ?? short(row.key)}</span>`,
        },
        { label: "Node", render: (row) => html`<span class="request-name">${nodeName(row, node)}</span>` },
        {
            label: "Tokens",
            numeric: true,
            render: (row) =>
                html`<span title="Prompt + answer"
                    >${count(row.prompt_tokens)} + ${count(row.completion_tokens)}</span
                >`,
        },
        { label: "Credits", numeric: true, render: (row) => credits(row.nanocredits) },
        { label: "Energy", numeric: true, render: energy },
        { label: "Took", numeric: true, render: (row) => duration(row.duration_microseconds) },
    ];
}

function nodeName(row, names) {
    return row.node ? (names.get(row.node) ?? short(row.node)) : "–";
}

function energy({ microjoules, energy_tier: tier }) {
    return tier ? html`${joules(microjoules)} <${Tier} tier=${tier} />` : "–";
}

function sums(rows) {
    const total = (field) => sum(rows.map((row) => row[field]));
    const tokens = total("prompt_tokens") + total("completion_tokens");
    return [
        `Shown here: ${count(rows.length)} ${rows.length === 1 ? "request" : "requests"}`,
        `${count(tokens)} tokens`,
        `${credits(total("nanocredits"))} credits`,
        `${joules(total("microjoules"))}.`,
    ].join(", ");
}

/** As the gateway's own CSV, with names beside the ids. */
function columnsOfFile({ key, node }) {
    const fields = [
        "id",
        "started_at",
        "endpoint",
        "model",
        "streamed",
        "outcome",
        "status",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "cost",
        "joules",
        "energy_tier",
        "first_byte_microseconds",
        "duration_microseconds",
        "key",
        "node",
    ];
    return [
        ...fields.map((field) => [field, (row) => row[field]]),
        ["key_name", (row) => key.get(row.key)],
        ["node_name", (row) => node.get(row.node)],
    ];
}
