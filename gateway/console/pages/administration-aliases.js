/** Other names for models. */
import { get, put, remove, useLoaded } from "../api.js";
import { Busy, Button, Card, Field, Table, Trouble } from "../components.js";
import { ago } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

const path = (alias) => `/api/aliases/${encodeURIComponent(alias)}`;

export function Aliases() {
    const { value, problem, reload } = useLoaded((signal) => get("/api/aliases", null, { signal }));
    return html`<${Card} title="Aliases" wide>
        <p class="hint">
            Programs that ask for a model of another name need no change where that name stands for a model of this gateway. The
            answer and the bill name the model itself.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${List} aliases=${value.data} onDone=${reload} />` : !problem && html`<${Busy} />`}
        <${Add} onDone=${reload} />
    <//>`;
}

function List({ aliases, onDone }) {
    const columns = [
        { label: "Alias", render: ({ alias }) => html`<code>${alias}</code>` },
        { label: "Stands for", render: ({ model }) => html`<code>${model}</code>` },
        { label: "Set", render: ({ updated_at: at }) => ago(at) },
        { label: "", render: (row) => html`<${Remove} alias=${row.alias} onDone=${onDone} />` },
    ];
    return html`<${Table} caption="Aliases" columns=${columns} rows=${aliases} rowKey=${({ alias }) => alias} empty="There is no alias." />`;
}

function Remove({ alias, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => remove(path(alias)))) onDone();
    };
    return html`<${Button} kind="danger" busy=${busy} onClick=${press} aria-label=${`Remove the alias ${alias}`}>Remove<//>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}

function Add({ onDone }) {
    const [form, setForm] = useState({ alias: "", model: "" });
    const { run, busy, problem, clear } = useAction();
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => put(path(form.alias.trim()), { model: form.model.trim() }))) {
            setForm({ alias: "", model: "" });
            onDone();
        }
    };
    return html`<form class="row" onSubmit=${submit}>
        <${Field} label="Alias" required value=${form.alias} onInput=${type("alias")} placeholder="gpt-4o-mini" />
        <${Field} label="Model" required value=${form.model} onInput=${type("model")} error=${problem?.message} />
        <${Button} kind="primary" type="submit" busy=${busy}>Set the alias<//>
    </form>`;
}
