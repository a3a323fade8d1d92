/** The tables of a statement, with their sums. */
import { Table, Tier } from "../components.js";
import { count, credits, grams, joules, sum } from "../format.js";
import { html } from "../html.js";
import { short } from "./request-names.js";
import { utc } from "./statement-words.js";

const SUMMED = [
    ...["receipts", "prompt_tokens", "cached_tokens", "completion_tokens"],
    ...["income", "share", "microjoules", "micrograms_co2e"],
];

const FIGURES = [
    ["Receipts", "receipts", count],
    ["Prompt", "prompt_tokens", count],
    ["Cached", "cached_tokens", count],
    ["Answer", "completion_tokens", count],
    ["Customers paid", "income", credits],
    ["Share", "share", credits],
    ["Energy", "microjoules", joules],
    ["CO₂e", "micrograms_co2e", grams],
].map(([label, part, told]) => ({ label, numeric: true, render: (line) => told(line[part]) }));

/** Receipts by model, and those of each model by day and tier. */
export function Lines({ lines, names }) {
    if (lines.length === 0) return html`<p class="empty">No receipt of this epoch has to do with it.</p>`;
    const models = [...Map.groupBy(lines, ({ model }) => model)];
    const name = (model) => names.get(model) ?? short(model);
    return html`<p class="hint">Tokens of the prompt, of these cached, and of the answer. Money in credits. Energy of the nodes, as attributed.</p>
        <${Models} lines=${lines} models=${models} name=${name} />
        ${models.map(([model, own]) => html`<${Days} key=${model} lines=${own} model=${model} name=${name(model)} />`)}`;
}

function Models({ lines, models, name }) {
    const columns = [{ label: "Model", render: ({ model }) => (model ? name(model) : "All") }, ...FIGURES];
    const rows = models.map(([model, own]) => ({ model, ...added(own) }));
    return html`<${Table} caption="What receipts brought, by model" ...${{ columns, rows }} rowKey=${({ model }) => model} sums=${added(lines)} wide />`;
}

function Days({ lines, model, name }) {
    const columns = [
        { label: "Day (UTC)", render: ({ day }) => (day ? html`<span class="day">${day}</span>` : "All") },
        { label: "Tier", render: ({ tier }) => html`<${Tier} tier=${tier} />` },
        ...FIGURES,
    ];
    const caption = `What receipts of ${name} brought, by day and tier`;
    return html`<h3>${name}</h3>
        <p class="hint"><code>${model}</code></p>
        <${Table} caption=${caption} columns=${columns} rows=${lines} rowKey=${({ day, tier }) => `${day} ${tier}`} sums=${added(lines)} wide />`;
}

/** All lines as one. */
function added(lines) {
    return Object.fromEntries(SUMMED.map((part) => [part, sum(lines.map((line) => line[part]))]));
}

/** Whatever else moved credits. */
export function Movements({ movements }) {
    const columns = [
        { label: "When", render: ({ at }) => (at === undefined ? "All" : utc(at)) },
        { label: "What", render: ({ kind = "" }) => kind.replaceAll("_", " ") },
        { label: "Event of the ledger", render: ({ event }) => event && html`<code>${event}</code>` },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    const sums = { nanocredits: sum(movements.map(({ nanocredits }) => nanocredits)) };
    return html`<${Table}
        caption="Movements"
        ...${{ columns, sums }}
        rows=${movements}
        rowKey=${({ event }) => event}
        empty="Nothing but receipts moved credits."
    />`;
}
