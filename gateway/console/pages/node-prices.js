/** What a node sells and asks for it, now and later. */
import { get, post, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Field, Notice, Table, Trouble } from "../components.js";
import { count, moment } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { perMillion } from "./node-words.js";

/** The highest price of a token: one credit. */
const HIGHEST = 1_000_000_000;
const PARTS = [
    ["prompt", "A token of the prompt"],
    ["cached", "A token of the prompt's cached part"],
    ["completion", "A token of the answer"],
];
const SOURCES = { node: "the node's word", operator: "set here", gateway: "the gateway's usual price" };

export function PricesCard({ node }) {
    const { value, problem, reload } = useLoaded((signal) => get("/api/prices", { node: node.id }, { signal }), [node.id]);
    const [asked, setAsked] = useState(false);
    const models = node.offer?.models ?? [];
    const action = models.length > 0 && html`<${Button} onClick=${() => setAsked(true)}>Set a price<//>`;
    return html`<${Card} title="Offers and prices" wide actions=${action}>
        <${Models} models=${models} />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${Prices} prices=${value.data} />` : !problem && html`<${Busy} />`}
        ${asked &&
        html`<${PriceDialog} node=${node} prices=${value?.data ?? []} onClose=${() => setAsked(false)} onDone=${reload} />`}
    <//>`;
}

function Models({ models }) {
    const columns = [
        { label: "Model", render: ({ manifest }) => html`<code>${manifest.name}</code>` },
        { label: "Makes", render: ({ kind = "text" }) => (kind === "embedding" ? "vectors" : "text") },
        { label: "Weights", render: ({ manifest }) => manifest.quantisation },
        { label: "Licence", render: ({ manifest }) => manifest.licence },
        { label: "Context", numeric: true, render: (model) => count(model.context_length) },
        { label: "Says of its speed", numeric: true, render: (model) => claimed(model) },
    ];
    const key = ({ manifest }) => manifest.name;
    return html`<${Table} caption="Models" columns=${columns} rows=${models} rowKey=${key} empty="It has offered nothing yet." />`;
}

function claimed({ tokens_per_second: speed }) {
    return speed ? `${count(speed)} tokens/s` : "nothing";
}

function Prices({ prices }) {
    const columns = [
        { label: "Model", render: (price) => html`<code>${name(price)}</code>` },
        ...PARTS.map(([part, label]) => ({ label, numeric: true, render: ({ price }) => html`<${Price} nanocredits=${price[part]} />` })),
        { label: "Counts", render: ({ in_force: now, effective_from: from }) => (now ? html`<${Badge} kind="good">now<//>` : html`from ${moment(from)}`) },
        { label: "Who says so", render: ({ source }) => SOURCES[source] ?? source },
    ];
    const key = ({ version, model }) => `${version} ${model}`;
    return html`<h3>Prices</h3>
        <p class="hint">In nanocredits for a token, and below in credits for a million tokens.</p>
        <${Table} caption="Prices" columns=${columns} rows=${prices} rowKey=${key} empty="No price is known." />`;
}

/** A model that no connected node serves has no name here. */
function name({ model, model_name: named }) {
    return named ?? `${model.slice(0, 16)}…`;
}

function Price({ nanocredits }) {
    return html`${count(nanocredits)}<br /><span class="hint">${perMillion(nanocredits)}</span>`;
}

function PriceDialog({ node, prices, onClose, onDone }) {
    const names = node.offer.models.map(({ manifest }) => manifest.name);
    const [form, setForm] = useState(() => ({ model: "", from: "", ...started(prices) }));
    const { run, busy, problem, clear } = useAction();
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => post(`/api/nodes/${node.id}/prices`, body(form)))) {
            onDone();
            onClose();
        }
    };
    const models = [["", "All of its models"], ...names.map((each) => [each, each])];
    return html`<${Dialog} title="Set a price" onClose=${onClose}>
        <form class="form" onSubmit=${submit}>
            <${Field} label="Model" options=${models} value=${form.model} onChange=${type("model")} />
            ${PARTS.map(
                ([part, label]) => html`<${Field}
                    key=${part}
                    label=${`${label}, nanocredits`}
                    type="number"
                    min="0"
                    max=${HIGHEST}
                    step="1"
                    required
                    value=${form[part]}
                    onInput=${type(part)}
                    hint=${`${perMillion(form[part] || 0)} credits for a million`}
                />`,
            )}
            <${Field}
                label="From"
                type="datetime-local"
                optional
                value=${form.from}
                onInput=${type("from")}
                hint="In your own time; left out, it counts at once. Requests under way keep their price."
            />
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <div class="actions">
                <${Button} onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Set the price<//>
            </div>
        </form>
    <//>`;
}

function started(prices) {
    const price = prices.find((each) => each.in_force)?.price ?? {};
    return Object.fromEntries(PARTS.map(([part]) => [part, String(price[part] ?? 0)]));
}

function body({ model, from, ...price }) {
    const parts = Object.fromEntries(PARTS.map(([part]) => [part, Number(price[part])]));
    return { ...parts, model: model || undefined, effective_from: from ? new Date(from).toISOString() : undefined };
}
