/** Limits of users and accounts. */
import { get, put, useLoaded } from "../api.js";
import { Busy, Button, Card, Field, Notice, Trouble } from "../components.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { SubjectForm, useSubject } from "./administration-subject.js";

const COUNTS = [
    ["requests_per_minute", "Requests in a minute"],
    ["tokens_per_minute", "Tokens in a minute"],
    ["concurrent_requests", "Requests at the same time"],
    ["joules_per_day", "Joules in a day"],
];
const MONEY = [
    ["credits_per_day", "Credits in a day"],
    ["credits_per_month", "Credits in a month"],
];
const LISTS = [
    ["models", "Models", "One on each line; left empty, all."],
    ["networks", "Networks", "Addresses and networks from which requests may come, one on each line; left empty, all."],
];

export function Limits({ me, account: asked }) {
    const [subject, setSubject] = useSubject({ kind: "account", id: asked ?? me.account });
    const path = `/api/limits/${subject.kind}/${subject.id}`;
    const { value, problem, loading, reload } = useLoaded((signal) => get(path, null, { signal }), [path]);
    return html`<${Card} title="Limits" wide>
        <p class="hint">They hold for all keys together. A key's own limits are set with the key.</p>
        <${SubjectForm} kinds=${["account", "user"]} subject=${subject} onChosen=${setSubject} busy=${loading} focused=${Boolean(asked)} />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value?.id === subject.id && !problem
            ? html`<${Form} key=${path} path=${path} limits=${value.limits} onDone=${reload} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

function Form({ path, limits, onDone }) {
    const [form, setForm] = useState(() => started(limits));
    const [saved, setSaved] = useState(false);
    const { run, busy, problem, clear } = useAction();
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        setSaved(false);
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => put(path, body(form)))) {
            setSaved(true);
            onDone();
        }
    };
    const error = (field) => (problem?.field === field ? problem.message : undefined);
    const input = ([field, label], more) =>
        html`<${Field} key=${field} label=${label} value=${form[field]} onInput=${type(field)} error=${error(field)} ...${more} />`;
    const shown = [...COUNTS, ...MONEY, ...LISTS].some(([field]) => error(field));
    return html`<form class="form" onSubmit=${submit}>
        <div class="pair">
            ${COUNTS.map((field) => input(field, { type: "number", min: 0, step: 1 }))}
            ${MONEY.map((field) => input(field, { inputmode: "decimal", placeholder: "2.5" }))}
            ${LISTS.map(([field, label, hint]) => input([field, label], { rows: 3, hint }))}
        </div>
        ${problem && !shown && html`<${Notice} kind="error">${problem.message}<//>`}
        ${saved && html`<${Notice} kind="good">These limits count from now on.<//>`}
        <p class="hint">What is left empty is not limited. Minutes, days and months are the calendar's, in UTC.</p>
        <div><${Button} kind="primary" type="submit" busy=${busy}>Set these limits<//></div>
    </form>`;
}

function started(limits) {
    const plain = [...COUNTS, ...MONEY].map(([field]) => [field, String(limits[field] ?? "")]);
    const lists = LISTS.map(([field]) => [field, (limits[field] ?? []).join("\n")]);
    return Object.fromEntries([...plain, ...lists]);
}

/** What is empty is left out, and so not limited. */
function body(form) {
    const given = (fields) => fields.filter(([field]) => form[field].trim() !== "");
    return Object.fromEntries([
        ...given(COUNTS).map(([field]) => [field, Number(form[field])]),
        ...given(MONEY).map(([field]) => [field, form[field].trim()]),
        ...given(LISTS).map(([field]) => [field, form[field].split("\n").map((line) => line.trim()).filter(Boolean)]),
    ]);
}
