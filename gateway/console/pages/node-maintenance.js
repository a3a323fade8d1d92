/** Times in which a node gets no new work, planned and called off. */
import { get, post, remove, useLoaded } from "../api.js";
import { Busy, Button, Card, Field, Notice, Table, Trouble } from "../components.js";
import { moment } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

const NOTHING = { from: "", until: "" };

export function MaintenanceCard({ node, onDone }) {
    const path = `/api/nodes/${node.id}/maintenance`;
    const { value, problem, reload } = useLoaded((signal) => get(path, null, { signal }), [node.id]);
    const changed = () => {
        reload();
        onDone();
    };
    return html`<${Card} title="Maintenance" wide>
        <p class="hint">In these times the node gets no new work; answers that run when one begins go on to their end.</p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${Windows} windows=${value.data} path=${path} onDone=${changed} />` : !problem && html`<${Busy} />`}
        <${Plan} path=${path} onDone=${changed} />
    <//>`;
}

function Windows({ windows, path, onDone }) {
    const columns = [
        { label: "From", render: ({ from }) => moment(from) },
        { label: "Until", render: ({ until }) => moment(until) },
        { label: "", render: (window) => html`<${CallOff} window=${window} path=${path} onDone=${onDone} />` },
    ];
    return html`<${Table} caption="Maintenance ahead" columns=${columns} rows=${windows} empty="None is planned." />`;
}

function CallOff({ window, path, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => remove(`${path}/${window.id}`))) onDone();
    };
    return html`<${Button} busy=${busy} onClick=${press}>Call off<//> ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}

function Plan({ path, onDone }) {
    const [times, setTimes] = useState(NOTHING);
    const { run, busy, problem, clear } = useAction();
    const type = (field) => (event) => {
        setTimes({ ...times, [field]: event.currentTarget.value });
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        const [from, until] = [times.from, times.until].map((time) => new Date(time).toISOString());
        if (await run(() => post(path, { from, until }))) {
            setTimes(NOTHING);
            onDone();
        }
    };
    const field = problem?.field === "from" ? "from" : "until";
    const error = (name) => (problem?.status === 400 && field === name ? problem.message : undefined);
    return html`<form class="row" onSubmit=${submit}>
        <${Field} label="From" type="datetime-local" required value=${times.from} onInput=${type("from")} error=${error("from")} />
        <${Field} label="Until" type="datetime-local" required value=${times.until} onInput=${type("until")} error=${error("until")} />
        <${Button} type="submit" busy=${busy}>Plan maintenance<//>
        ${problem && problem.status !== 400 && html`<${Notice} kind="error">${problem.message}<//>`}
    </form>`;
}
