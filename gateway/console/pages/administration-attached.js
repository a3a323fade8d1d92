/** Servers with OpenAI's API that are nodes by an administrator's word. */
import { get, patch, post, remove, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Field, Notice, Table, Trouble } from "../components.js";
import { count } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

export function Attached() {
    const { value, problem, reload } = useLoaded((signal) => get("/api/attached", null, { signal }));
    const [asked, setAsked] = useState(false);
    const action = html`<${Button} kind="primary" onClick=${() => setAsked(true)}>Attach a server<//>`;
    return html`<${Card} title="Attached servers" wide actions=${action}>
        <p class="hint">
            Any server with OpenAI's API (vLLM, SGLang, llama.cpp, Ollama). It is a node from then on; its energy is estimated, and
            its income is your account's.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${List} servers=${value.data} onDone=${reload} />` : !problem && html`<${Busy} />`}
        ${asked && html`<${Attach} onClose=${() => setAsked(false)} onDone=${reload} />`}
    <//>`;
}

function List({ servers, onDone }) {
    const [asked, setAsked] = useState(null);
    const columns = [
        { label: "Server", render: ({ id, name }) => html`<a href=${`#/nodes/${id}`}>${name}</a>` },
        { label: "URL", render: ({ url }) => html`<code>${url}</code>` },
        { label: "State", render: ({ connected }) => html`<${Badge} kind=${connected ? "good" : "bad"}>${connected ? "answers" : "does not answer"}<//>` },
        { label: "Models", render: ({ models }) => models.map(({ name }) => name).join(", ") },
        { label: "At once", numeric: true, render: ({ slots }) => count(slots) },
        { label: "Key", render: ({ has_key: has }) => (has ? "kept encrypted" : "none") },
        {
            label: "",
            render: (server) => html`<${Button} onClick=${() => setAsked({ what: "key", server })}>Change the key<//>
                <${Button} kind="danger" onClick=${() => setAsked({ what: "detach", server })}>Detach<//>`,
        },
    ];
    const close = () => setAsked(null);
    return html`<${Table} caption="Attached servers" columns=${columns} rows=${servers} empty="None is attached." />
        ${asked?.what === "key" && html`<${ChangeKey} server=${asked.server} onClose=${close} onDone=${onDone} />`}
        ${asked?.what === "detach" && html`<${Detach} server=${asked.server} onClose=${close} onDone=${onDone} />`}`;
}

function ChangeKey({ server, onClose, onDone }) {
    const [key, setKey] = useState("");
    const { run, busy, problem } = useAction();
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => patch(`/api/attached/${server.id}`, { key: key || null }))) {
            onDone();
            onClose();
        }
    };
    return html`<${Dialog} title=${`Another key for ${server.name}`} onClose=${onClose}>
        <form class="form" onSubmit=${submit}>
            <${Field}
                label="Key"
                type="password"
                autocomplete="off"
                value=${key}
                onInput=${(event) => setKey(event.currentTarget.value)}
                error=${problem?.message}
                hint="Left empty: the server asks for none any more. It is tried before it counts."
            />
            <div class="actions">
                <${Button} onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Use this key<//>
            </div>
        </form>
    <//>`;
}

function Detach({ server, onClose, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => remove(`/api/attached/${server.id}`))) {
            onDone();
            onClose();
        }
    };
    return html`<${Dialog} title=${`Detach ${server.name}?`} onClose=${onClose}>
        <p><strong>${server.name}</strong> is no node any more, and its key is forgotten. What it earned stays in the books.</p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <div class="actions">
            <${Button} onClick=${onClose}>Keep it<//>
            <${Button} kind="danger" busy=${busy} onClick=${press}>${`Detach ${server.name}`}<//>
        </div>
    <//>`;
}

const EMPTY = { name: "", url: "", key: "", model: "", upstream: "", context: "8192", slots: "8", region: "", zone: "" };

/** Attaches a server with one model; what serves several is attached through the API. */
function Attach({ onClose, onDone }) {
    const [form, setForm] = useState(EMPTY);
    const { run, busy, problem, clear } = useAction();
    const type = (event) => {
        const { name, value } = event.currentTarget;
        setForm({ ...form, [name]: value });
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => post("/api/attached", body(form)))) {
            onDone();
            onClose();
        }
    };
    const input = (name, label, more) => html`<${Field} label=${label} name=${name} value=${form[name]} onInput=${type} ...${more} />`;
    return html`<${Dialog} title="Attach a server" onClose=${onClose}>
        <form class="form" onSubmit=${submit}>
            ${input("name", "Name", { required: true, maxlength: 100, placeholder: "rack 7" })}
            ${input("url", "URL", { type: "url", required: true, placeholder: "https://llm.example/v1" })}
            ${input("key", "Key", { type: "password", autocomplete: "off", optional: true, hint: "Kept encrypted, never shown again." })}
            <div class="pair">
                ${input("model", "Model, as clients name it", { required: true })}
                ${input("upstream", "as the server names it", { optional: true, hint: "Left empty: the same." })}
                ${input("context", "Longest context, tokens", { type: "number", min: 1, step: 1, required: true })}
                ${input("slots", "Requests at once", { type: "number", min: 1, max: 10000, step: 1, required: true })}
                ${input("region", "Region", { optional: true, placeholder: "DE" })}
                ${input("zone", "Zone of the grid", { optional: true, placeholder: "DE", hint: "For its carbon." })}
            </div>
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <div class="actions">
                <${Button} onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Attach it<//>
            </div>
        </form>
    <//>`;
}

function body(form) {
    const given = (text) => text.trim() || undefined;
    const model = { name: form.model.trim(), upstream_name: given(form.upstream) ?? form.model.trim(), context_length: Number(form.context) };
    const { name, url } = form;
    return { name, url, key: form.key || undefined, models: [model], slots: Number(form.slots), region: given(form.region), zone: given(form.zone) };
}
