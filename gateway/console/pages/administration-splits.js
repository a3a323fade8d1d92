/** How income is shared, now and later. */
import { get, post, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Field, Notice, Table, Trouble } from "../components.js";
import { moment } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

/** Parts per million in a percent. */
const PERCENT = 10_000;
const WHOLE = 1_000_000;
const PARTS = [
    ["operator_ppm", "The node's operator"],
    ["authors_ppm", "The model's authors"],
    ["gateway_ppm", "The gateway"],
    ["audit_fund_ppm", "Checking nodes"],
];

export function Splits() {
    const { value, problem, reload } = useLoaded((signal) => get("/api/splits", null, { signal }));
    return html`<${Card} title="How income is shared" wide>
        <p class="hint">A request is shared by the version that was in force when it was let in. A version is never changed, only followed by another, which is announced beforehand and counts only once it is in the public log.</p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${List} splits=${value} /><${Add} last=${value.data[0]?.split} earliest=${value.earliest} onDone=${reload} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

function List({ splits: { in_force: current, data } }) {
    const columns = [
        { label: "Version", numeric: true, key: "version" },
        ...PARTS.map(([part, label]) => ({ label, numeric: true, render: ({ split }) => `${split[part] / PERCENT} %` })),
        { label: "From", render: ({ effective_from: from }) => (from ? moment(from) : "the beginning") },
        { label: "", render: (split) => standing(split, current) },
    ];
    return html`<${Table} caption="Versions" columns=${columns} rows=${data} rowKey=${({ version }) => version} />`;
}

function standing({ version, effective_from: from, log_index: leaf }, current) {
    if (version === current) return html`<${Badge} kind="good">counts now<//>`;
    return from && leaf === null && html`<${Badge}>not in the log yet<//>`;
}

function Add({ last, earliest, onDone }) {
    const [form, setForm] = useState(() => started(last));
    const { run, busy, problem, clear } = useAction();
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        clear();
    };
    const missing = WHOLE - PARTS.reduce((all, [part]) => all + ppm(form[part]), 0);
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => post("/api/splits", body(form)))) onDone();
    };
    return html`<h3>Share it otherwise</h3>
        <form class="row" onSubmit=${submit}>
            ${PARTS.map(
                ([part, label]) => html`<${Field}
                    key=${part}
                    label=${`${label}, %`}
                    type="number"
                    min="0"
                    max="100"
                    step="0.0001"
                    required
                    value=${form[part]}
                    onInput=${type(part)}
                />`,
            )}
            <${Field} label="From" type="datetime-local" optional value=${form.from} onInput=${type("from")} hint=${html`The earliest is ${moment(earliest)}, which is meant if left out.`} />
            <${Button} kind="primary" type="submit" busy=${busy} disabled=${missing !== 0}>Add the version<//>
        </form>
        <p class=${missing === 0 ? "hint" : "error"} role="status">
            ${missing === 0 ? "The parts add up to 100 %." : `The parts must add up to 100 %: ${Math.abs(missing) / PERCENT} % too ${missing > 0 ? "little" : "much"}.`}
        </p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}`;
}

function started(split = {}) {
    const parts = PARTS.map(([part]) => [part, String((split[part] ?? 0) / PERCENT)]);
    return { ...Object.fromEntries(parts), from: "" };
}

function ppm(percent) {
    return Math.round(Number(percent) * PERCENT);
}

function body({ from, ...parts }) {
    const split = Object.fromEntries(PARTS.map(([part]) => [part, ppm(parts[part])]));
    return { split, effective_from: from ? new Date(from).toISOString() : undefined };
}
