/** What a request cost, part by part, and who is paid. */
import { get, useLoaded } from "../api.js";
import { Table } from "../components.js";
import { count, credits, percentage } from "../format.js";
import { html } from "../html.js";
import { OUTCOMES } from "./request-outcomes.js";

const UNPAID = ["refused", "no_node", "node_failed", "gateway_failed"];

export function Cost({ request }) {
    const price = useLoaded(() => priceOf(request), [request.id]).value;
    const splits = useLoaded(() => get("/api/splits")).value;
    if (UNPAID.includes(request.outcome)) return html`<p>It cost nothing. ${OUTCOMES[request.outcome].meaning}</p>`;
    return html`${price && html`<${Parts} request=${request} price=${price} />`}
        <p class="request-total"><strong>${credits(request.nanocredits)} credits</strong> in all.</p>
        ${!price && html`<p class="hint">The price that it was paid at is not listed any more, so its parts can’t be told apart.</p>`}
        ${splits && html`<p class="hint">${shared(splitAt(splits, request.started_at))}</p>`}`;
}

/** The request may bear its price; else it is looked up, as long as it is in force. */
async function priceOf({ price, node, price_version: version }) {
    if (price || !node) return price ?? null;
    const { data } = await get("/api/prices", { node });
    return data.find((each) => each.version === version)?.price ?? null;
}

/** Cached tokens are among the prompt's. */
export function parts({ prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion }, price) {
    const part = (label, tokens, each) => ({ id: label, tokens, each, nanocredits: BigInt(tokens) * BigInt(each) });
    return [
        part("Prompt", prompt - cached, price.prompt),
        ...(cached > 0 ? [part("Prompt, cached", cached, price.cached)] : []),
        part("Answer", completion, price.completion),
    ];
}

function Parts({ request, price }) {
    const columns = [
        { label: "Part", key: "id" },
        { label: "Tokens", numeric: true, render: ({ tokens }) => count(tokens) },
        { label: "Credits per million", numeric: true, render: ({ each }) => credits(BigInt(each) * 1_000_000n) },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    return html`<${Table} caption="Cost by part" columns=${columns} rows=${parts(request, price)} />`;
}

/** The split of the moment when the request was let in, of those that are in the log; the list begins with the last to come. */
function splitAt({ data }, startedAt) {
    const at = Date.parse(startedAt);
    const counts = ({ effective_from: from, log_index: leaf }) => from === null || (leaf !== null && Date.parse(from) <= at);
    return (data.find(counts) ?? data.at(-1)).split;
}

function shared(split) {
    const part = (ppm) => percentage(ppm / 1e6);
    return [
        `Of it ${part(split.operator_ppm)} goes to the node’s operator`,
        `${part(split.authors_ppm)} to the model’s authors`,
        `${part(split.gateway_ppm)} to the gateway and ${part(split.audit_fund_ppm)} to the fund for checking nodes.`,
    ].join(", ");
}
