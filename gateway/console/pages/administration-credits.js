/** What an account has, and what moves it: top-ups, grants, refunds, corrections, payouts. */
import { get, post, useLoaded, useTurning } from "../api.js";
import { Busy, Button, Card, Dialog, Field, Figure, Figures, Notice, Pager, Table, Trouble } from "../components.js";
import { credits, moment } from "../format.js";
import { html, useRef, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { SubjectForm, useSubject, wrongId } from "./administration-subject.js";

const LINES = 50;
const KINDS = {
    top_up: ["Top up", "Credits bought: from outside to the account."],
    grant: ["Grant", "Credits given by the gateway."],
    refund: ["Refund", "A request's price, or a part of it, given back."],
    adjustment: ["Adjustment", "Something put right; a negative amount takes."],
    payout: ["Payout", "Earnings of the account's nodes that leave the ledger."],
};

export function Credits({ me, account: asked }) {
    const [subject, setSubject] = useSubject({ kind: "account", id: asked ?? me.account });
    const { id: account } = subject;
    const { before, steps, restart } = useTurning();
    const load = async (signal) => {
        const ask = (path, query) => get(path, { account, ...query }, { signal });
        const [balance, lines] = await Promise.all([ask("/api/ledger/balance"), ask("/api/ledger", { limit: LINES, before })]);
        return { balance, lines };
    };
    const { value, problem, loading, reload } = useLoaded(load, [account, before]);
    const choose = (another) => {
        setSubject(another);
        restart();
    };
    const shown = value?.balance.account === account && !problem;
    return html`<${Card} title="Credits of an account" wide>
        <${SubjectForm} kinds=${["account"]} subject=${subject} onChosen=${choose} busy=${loading} focused=${Boolean(asked)} />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${shown
            ? html`<${Balance} balance=${value.balance} />
                  <${Move} key=${account} account=${subject} onDone=${reload} />
                  <${Lines} lines=${value.lines.data} />
                  <${Pager} ...${steps(value.lines.next)} shown=${value.lines.data.length} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

function Balance({ balance: { balance, leased, available, earned } }) {
    const amount = ({ nanocredits }) => credits(nanocredits);
    return html`<div class="exact">
        <${Figures}>
            <${Figure} label="Balance" value=${amount(balance)} unit="credits" />
            <${Figure} label="Set aside for requests" value=${amount(leased)} unit="credits" />
            <${Figure} label="Available" value=${amount(available)} unit="credits" />
            <${Figure} label="Earned, and not paid out" value=${amount(earned)} unit="credits" />
        <//>
    </div>`;
}

function Lines({ lines }) {
    const columns = [
        { label: "When", render: ({ created_at: at }) => moment(at) },
        { label: "What", render: ({ kind }) => kind.replaceAll("_", " ") },
        { label: "Of", render: ({ account }) => (account.startsWith("operator:") ? "earnings" : "credits") },
        { label: "Why", render: ({ reason }) => reason ?? "–" },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    const key = ({ event, account }) => event + account;
    return html`<h3>Ledger</h3>
        <${Table} caption="Ledger" columns=${columns} rows=${lines} rowKey=${key} />`;
}

/** A form, and the question whether it is meant: what is posted stays in the books for ever. */
function Move({ account, onDone }) {
    const [form, setForm] = useState({ kind: "top_up", credits: "", reason: "", request: "" });
    const [asked, setAsked] = useState(false);
    const [posted, setPosted] = useState(null);
    const [errors, setErrors] = useState({});
    // A call that is repeated with the same key is done once.
    const key = useRef(null);
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        setErrors({});
        setPosted(null);
        key.current = null;
    };
    const submit = (event) => {
        event.preventDefault();
        const wrong = mistakes(form);
        setErrors(wrong);
        key.current ??= crypto.randomUUID();
        if (Object.keys(wrong).length === 0) setAsked(true);
    };
    const done = (event) => {
        setAsked(false);
        setPosted(event);
        key.current = null;
        setForm({ ...form, credits: "", reason: "", request: "" });
        onDone();
    };
    const input = (field, label, more) =>
        html`<${Field} label=${label} value=${form[field]} onInput=${type(field)} error=${errors[field]} ...${more} />`;
    return html`<h3>Move credits</h3>
        <form class="row" onSubmit=${submit} novalidate>
            <${Field}
                label="Kind"
                options=${Object.entries(KINDS).map(([kind, [text]]) => [kind, text])}
                value=${form.kind}
                onChange=${type("kind")}
                hint=${KINDS[form.kind][1]}
            />
            ${input("credits", "Credits", { inputmode: "decimal", placeholder: "12.5", autocomplete: "off" })}
            ${input("reason", "Why", { maxlength: 500, placeholder: "invoice 7" })}
            ${form.kind === "refund" && input("request", "Request", { hint: "The id of the request that it is for." })}
            <${Button} kind="primary" type="submit">Post it …<//>
        </form>
        ${posted && html`<${Notice} kind="good">Posted. The ledger has it as ${posted.id}.<//>`}
        ${asked &&
        html`<${Confirm} account=${account} form=${form} idempotencyKey=${key.current} onClose=${() => setAsked(false)} onDone=${done} />`}`;
}

function Confirm({ account, form, idempotencyKey, onClose, onDone }) {
    const { run, busy, problem } = useAction();
    const press = () =>
        run(async () => {
            const headers = { "idempotency-key": idempotencyKey };
            onDone(await post("/api/ledger/events", body(account.id, form), { headers }));
        });
    const [word] = KINDS[form.kind];
    return html`<${Dialog} title=${`${word}: ${form.credits} credits?`} onClose=${onClose}>
        <p>
            Account <strong>${account.words}</strong> <code>${account.id}</code>, for “${form.reason}”. It stays in the books for
            ever; a mistake is put right by another event.
        </p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <div class="actions">
            <${Button} onClick=${onClose}>Cancel<//>
            <${Button} kind="primary" busy=${busy} onClick=${press}>Post it<//>
        </div>
    <//>`;
}

/** What is wrong with the form, by field. */
function mistakes({ kind, credits: amount, reason, request }) {
    const sign = kind === "adjustment" ? "-?" : "";
    const shape = new RegExp(`^${sign}\\d{1,10}(\\.\\d{1,9})?$`);
    const wrong = {
        credits: shape.test(amount.trim()) ? undefined : "Give a decimal such as 12.5, with at most nine decimals.",
        reason: reason.trim() === "" ? "Say why: it stands in the ledger." : undefined,
        request: kind === "refund" ? wrongId(request) : undefined,
    };
    return Object.fromEntries(Object.entries(wrong).filter(([, said]) => said));
}

function body(account, { kind, credits: amount, reason, request }) {
    const whose = kind === "payout" ? `operator:${account}` : account;
    const refunded = kind === "refund" ? request.trim() : undefined;
    return { kind, account: whose, credits: amount.trim(), reason: reason.trim(), request: refunded };
}
