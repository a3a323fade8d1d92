/** One request: its tries, its time, its energy and its cost. */
import { get, useLoaded } from "../api.js";
import { Busy, Button, Card, Copy, Figure, Figures, Heading, Notice, Table, Tier, Trouble } from "../components.js";
import { count, credits, duration, joules, moment } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Cost } from "./request-cost.js";
import { endRequest } from "./request-ending.js";
import { Energy, isProvisional } from "./request-energy.js";
import { named, nodesKnown, short } from "./request-names.js";
import { Outcome } from "./request-outcomes.js";
import { Receipt } from "./request-receipt.js";
import { Timeline } from "./request-timeline.js";

const LOOK_AGAIN = 2000;
/** A request that is older than this and not there is not on its way either. */
const LONGEST = 3_600_000;

export function Request({ id, list }) {
    const request = useLoaded((signal) => get(`/api/requests/${encodeURIComponent(id)}`, null, { signal }), [id]);
    const missing = request.problem?.status === 404;
    const young = missing && Date.now() - begun(id) < LONGEST;
    useAgain(young, request);
    return html`<p class="request-back"><a href=${list}>← All requests</a></p>
        <${Heading} title="Request" about=${html`<code class="request-id">${id}</code>`} />
        ${request.value && html`<${Detail} request=${request.value} reload=${request.reload} />`}
        ${!request.value && request.loading && !missing && html`<${Busy} />`} ${young && html`<${Running} id=${id} />`}
        ${missing && !young && html`<${Notice} kind="warning">There is no request ${short(id)} in your account.<//>`}
        ${request.problem && !missing && html`<${Trouble} problem=${request.problem} retry=${request.reload} />`}`;
}

/** Looks again after a while, for as long as it makes sense. */
function useAgain(wanted, { loading, reload }) {
    useEffect(() => {
        if (!wanted || loading) return;
        const timer = setTimeout(reload, LOOK_AGAIN);
        return () => clearTimeout(timer);
    }, [wanted, loading]);
}

/** When a request came: its id begins with the milliseconds since 1970 (UUIDv7). NaN if it is no such id. */
function begun(id) {
    return /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/i.test(id)
        ? Number.parseInt(id.replace("-", "").slice(0, 12), 16)
        : Number.NaN;
}

/** What has no row yet may run, or just be on its way into the books. */
function Running({ id }) {
    const [state, setState] = useState({ busy: false, said: null });
    const cancel = async () => {
        setState({ busy: true, said: null });
        const said = await endRequest(id).then(
            () => "It is being ended; what came of it is delivered and paid.",
            (problem) => problem.message,
        );
        setState({ busy: false, said });
    };
    const action = html`<${Button} kind="danger" busy=${state.busy} onClick=${cancel}>End it now<//>`;
    return html`<${Notice} action=${action}>
        ${state.said ?? "Nothing is booked under this id yet. If the request runs, it appears here as soon as it has ended."}
    <//>`;
}

function Detail({ request, reload }) {
    const energy = useLoaded((signal) => get(`/api/requests/${request.id}/energy`, null, { signal }), [request.id]);
    const attempts = energy.value?.attempts ?? [];
    const both = () => {
        energy.reload();
        reload();
    };
    useAgain(isProvisional(attempts), { loading: energy.loading, reload: both });
    const nodes = useLoaded(nodesKnown).value;
    const keys = useLoaded(() => get("/api/keys")).value?.data;
    const names = named(nodes);
    return html`<${Summary}
            request=${request}
            node=${names.get(request.node)}
            keyName=${named(keys).get(request.key)}
        />
        <div class="cards">
            <${Card} title="Time" wide><${Timeline} request=${request} names=${names} /><//>
            <${Card} title="Energy" wide>
                ${energy.value && html`<${Energy} attempts=${attempts} names=${names} />`}
                ${!energy.value && energy.loading && html`<${Busy} />`}
                ${energy.problem && html`<${Trouble} problem=${energy.problem} retry=${energy.reload} />`}
            <//>
            <${Card} title="Cost" wide><${Cost} request=${request} /><//>
            <${Card} title="Receipt" wide><${Receipt} request=${request} useAgain=${useAgain} /><//>
            <${Card} title="Tries" wide><${Attempts} attempts=${request.attempts} names=${names} /><//>
        </div>
        <details class="request-program">
            <summary>The same over the API</summary>
            <${Copy}
                text=${`curl -H "Authorization: Bearer $TOKEN" ${location.origin}/api/requests/${request.id}`}
                label="Copy"
            />
        </details>`;
}

function Summary({ request, node, keyName }) {
    const { outcome, status, endpoint, streamed, model, energy_tier: tier } = request;
    return html`<div class="request-figures"><${Figures}>
        <${Figure} label="Outcome" value=${html`<${Outcome} word=${outcome} />`} detail=${`status ${status}`} />
        <${Figure}
            label="Model"
            value=${html`<span class="request-text">${model}</span>`}
            detail=${`${endpoint}${streamed ? ", streamed" : ""}`}
        />
        <${Figure}
            label="Started"
            value=${html`<span class="request-text">${moment(request.started_at, { seconds: true })}</span>`}
            detail=${`took ${duration(request.duration_microseconds)}`}
        />
        <${Figure}
            label="Tokens"
            value=${count(request.completion_tokens)}
            detail=${`and ${count(request.prompt_tokens)} of the prompt`}
        />
        <${Figure} label="Cost" value=${credits(request.nanocredits)} unit="credits" />
        <${Figure} label="Energy" value=${tier ? html`${joules(request.microjoules)} <${Tier} tier=${tier} />` : "–"} />
        <${Figure} label="Key" value=${html`<span class="request-text">${keyName ?? short(request.key)}</span>`} />
        <${Figure}
            label="Node"
            value=${html`<span class="request-text">${node ?? (request.node ? short(request.node) : "–")}</span>`}
            title=${request.node}
        />
    <//></div>`;
}

function Attempts({ attempts, names }) {
    const columns = [
        { label: "Try", render: ({ attempt }) => count(attempt) },
        {
            label: "Node",
            render: ({ node }) =>
                html`<span class="request-name" title=${node}>${names.get(node) ?? short(node)}</span>`,
        },
        { label: "Why this node", render: ({ choice }) => choice ?? "–" },
        { label: "Outcome", render: ({ outcome }) => html`<${Outcome} word=${outcome} />` },
        {
            label: "Tokens computed",
            numeric: true,
            render: (row) => `${count(row.prompt_tokens)} + ${count(row.completion_tokens)}`,
        },
        { label: "Claimed too many", numeric: true, render: ({ overclaimed_tokens: tokens }) => count(tokens) },
        { label: "Energy", numeric: true, render: ({ microjoules }) => joules(microjoules) },
        { label: "Took", numeric: true, render: (row) => duration(row.duration_microseconds) },
    ];
    return html`<${Table}
        caption="Tries, in their order"
        columns=${columns}
        rows=${attempts}
        rowKey=${({ attempt }) => String(attempt)}
        empty="It never reached a node."
    />`;
}
