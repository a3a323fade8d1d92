/** Other gateways that this one buys answers from, sells answers to, or both. */
import { get, post, remove, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Notice, Table, Trouble } from "../components.js";
import { count, credits, moment } from "../format.js";
import { html, useState } from "../html.js";
import { address } from "../router.js";
import { AddPartner } from "./administration-partner-form.js";
import { useAction } from "./node-actions.js";

export function Partners() {
    const { value, problem, reload } = useLoaded((signal) => get("/api/partners", null, { signal }));
    const [asked, setAsked] = useState(false);
    const action = html`<${Button} kind="primary" onClick=${() => setAsked(true)}>Add a partner<//>`;
    return html`<${Card} title="Partners" wide actions=${action}>
        <p class="hint">
            Other gateways. Each answers the other’s users as any customer; its signed receipts are its invoices. Once both have closed
            an epoch, what they owe each other is offset by a document that both sign, and the rest becomes a payout.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<p>This gateway is known to them as <code>${value.gateway}</code>.</p>
                  <${List} partners=${value.data} onDone=${reload} />`
            : !problem && html`<${Busy} />`}
        ${asked && html`<${AddPartner} onClose=${() => setAsked(false)} onDone=${reload} />`}
    <//>`;
}

function List({ partners, onDone }) {
    const [asked, setAsked] = useState(null);
    const columns = [
        { label: "Partner", render: ({ name, gateway, account }) => html`<a href=${address("administration", { part: "credits", account })}>${name}</a> <code>${gateway}</code>` },
        { label: "State", render: (partner) => html`<${State} partner=${partner} />` },
        { label: "We owe it", numeric: true, render: ({ earned }) => credits(earned.nanocredits) },
        { label: "It can still spend", numeric: true, render: ({ credit }) => credits(credit.nanocredits) },
        { label: "Disputed", numeric: true, render: ({ disputed }) => count(disputed) },
        { label: "Actions", render: (partner) => html`<${Actions} partner=${partner} onAsk=${(what) => setAsked({ what, partner })} onDone=${onDone} />` },
    ];
    const close = () => setAsked(null);
    return html`<${Table} caption="Partners" columns=${columns} rows=${partners} rowKey=${({ id }) => id} empty="There is none yet." />
        ${asked?.what === "nettings" && html`<${Nettings} partner=${asked.partner} onClose=${close} />`}
        ${asked?.what === "disputes" && html`<${Disputes} partner=${asked.partner} onClose=${close} onDone=${onDone} />`}
        ${asked?.what === "end" && html`<${End} partner=${asked.partner} onClose=${close} onDone=${onDone} />`}`;
}

function State({ partner: { node, connected, failure } }) {
    const badge = () => {
        if (!node) return html`<${Badge}>buys here<//>`;
        return html`<${Badge} kind=${connected ? "good" : "bad"}>${connected ? "answers" : "does not answer"}<//>`;
    };
    return html`${badge()} ${failure && html`<p class="error">${failure}</p>`}`;
}

function Actions({ partner, onAsk, onDone }) {
    const { run, busy, problem } = useAction();
    const net = async () => {
        if (await run(() => post(`/api/partners/${partner.id}/nettings`, {}))) onDone();
    };
    const { name, node, disputed } = partner;
    return html`<div class="actions">
            ${node && html`<${Button} kind="small" busy=${busy} onClick=${net} aria-label=${`Net now: ${name}`}>Net now<//>`}
            <${Button} kind="small" onClick=${() => onAsk("nettings")} aria-label=${`Nettings: ${name}`}>Nettings …<//>
            ${disputed > 0 && html`<${Button} kind="small" onClick=${() => onAsk("disputes")} aria-label=${`Disputes: ${name}`}>Disputes …<//>`}
            <${Button} kind="small danger" onClick=${() => onAsk("end")} aria-label=${`End: ${name}`}>End …<//>
        </div>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}

function Nettings({ partner, onClose }) {
    const { value, problem, reload } = useLoaded((signal) => get(`/api/partners/${partner.id}/nettings`, null, { signal }));
    const columns = [
        { label: "Number", key: "number" },
        { label: "When", render: ({ agreed_at: at }) => moment(at) },
        { label: "We owed", numeric: true, render: ({ we_owe: owed }) => credits(owed.nanocredits) },
        { label: "It owed", numeric: true, render: ({ they_owe: owed }) => credits(owed.nanocredits) },
        { label: "Offset", numeric: true, render: ({ offset }) => credits(offset.nanocredits) },
        { label: "Signed by both", render: ({ document }) => html`<a href=${`/log/document/${document}`} title=${document}>document</a>` },
    ];
    return html`<${Dialog} title=${`Netted with ${partner.name}`} onClose=${onClose}>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${Table} caption="Nettings, newest first" columns=${columns} rows=${value.data} empty="Nothing was netted yet." />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

/** What it bills and is not owed. */
function Disputes({ partner, onClose, onDone }) {
    const path = `/api/partners/${partner.id}/invoices`;
    const { value, problem, reload } = useLoaded((signal) => get(path, { disputed: true }, { signal }));
    const { run, busy, problem: refused } = useAction();
    const accept = async (index) => {
        if (await run(() => post(`${path}/${index}/accept`, {}))) {
            reload();
            onDone();
        }
    };
    const columns = [
        { label: "Leaf of its log", numeric: true, render: ({ index }) => count(index) },
        { label: "Why", key: "dispute" },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
        {
            label: "Actions",
            render: ({ index }) => html`<${Button} kind="small" busy=${busy} onClick=${() => accept(index)} aria-label=${`Own up to ${index}`}>Own up to it<//>`,
        },
    ];
    return html`<${Dialog} title=${`Disputed with ${partner.name}`} onClose=${onClose}>
        <p>Receipts that the partner has signed and that are not owed. If it was wrong, it refunds your account there.</p>
        ${refused && html`<${Notice} kind="error">${refused.message}<//>`}
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${Table} caption="Disputed receipts" columns=${columns} rows=${value.data} empty="None is disputed." />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

function End({ partner, onClose, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => remove(`/api/partners/${partner.id}`))) {
            onDone();
            onClose();
        }
    };
    return html`<${Dialog} title=${`End with ${partner.name}?`} onClose=${onClose}>
        <p>Nothing is asked of <strong>${partner.name}</strong> any more, and its keys are any customer’s. What was netted is still paid.</p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <div class="actions">
            <${Button} onClick=${onClose}>Keep it<//>
            <${Button} kind="danger" busy=${busy} onClick=${press}>${`End with ${partner.name}`}<//>
        </div>
    <//>`;
}
