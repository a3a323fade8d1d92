/** The account's keys. */
import { get, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Heading, Table, Trouble } from "../components.js";
import { ago, moment } from "../format.js";
import { html, useState } from "../html.js";
import { inWords } from "../limits.js";
import { address } from "../router.js";
import { Revoke, Rotate, Secret } from "./key-dialogs.js";
import { KeyForm } from "./key-form.js";

export const title = "Keys";

export default function Keys({ parameters, navigate }) {
    const { value, problem, loading, reload } = useLoaded((signal) => get("/api/keys", {}, { signal }), []);
    const [open, setOpen] = useState(null);
    const withRevoked = parameters.revoked === "shown";
    const close = () => setOpen(null);
    const done = (created) => {
        setOpen(created?.key ? { what: "secret", created } : null);
        reload();
    };
    const all = value?.data ?? [];
    const usable = all.filter(works);
    return html`<${Heading} title=${title} about="Applications send one of these as “Authorization: Bearer …”. A key is shown once, when it is made.">
            <${Button} kind="primary" onClick=${() => setOpen({ what: "create" })}>Create key<//>
        <//>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${!value && loading && html`<${Busy} />`}
        ${
            value &&
            html`<${Card}>
            <${List} keys=${withRevoked ? all : usable} onOpen=${setOpen} />
            ${
                all.length > usable.length &&
                html`<${Button} kind="quiet small" onClick=${() => navigate("keys", withRevoked ? {} : { revoked: "shown" })}>
                ${withRevoked ? "Hide" : "Show"} ${all.length - usable.length} that ended
            <//>`
            }
        <//>`
        }
        <${Opened} open=${open} onDone=${done} onClose=${close} />`;
}

function Opened({ open, onDone, onClose }) {
    switch (open?.what) {
        case "create":
            return html`<${Dialog} title="Create a key" onClose=${onClose}><${KeyForm} onDone=${onDone} onCancel=${onClose} /><//>`;
        case "change":
            return html`<${Dialog} title=${`Change “${open.known.name}”`} onClose=${onClose}>
                <${KeyForm} known=${open.known} onDone=${onDone} onCancel=${onClose} />
            <//>`;
        case "rotate":
            return html`<${Rotate} known=${open.known} onDone=${onDone} onClose=${onClose} />`;
        case "revoke":
            return html`<${Revoke} known=${open.known} onDone=${onDone} onClose=${onClose} />`;
        case "secret":
            return html`<${Secret} created=${open.created} onClose=${onClose} />`;
        default:
            return null;
    }
}

function List({ keys, onOpen }) {
    const columns = [
        {
            label: "Name",
            render: ({ id, name, scope }) => html`<span>
                <a href=${address("requests", { key: id })}>${name}</a>
                ${scope === "management" && html`${" "}<${Badge}>management<//>`}
            </span>`,
        },
        { label: "Key", render: ({ prefix }) => html`<code title=${prefix}>${prefix.slice(0, 14)}…</code>` },
        { label: "State", render: (key) => html`<${State} known=${key} />` },
        {
            label: "Limits",
            render: ({ limits }) => inWords(limits).join(", ") || html`<span class="muted">none</span>`,
        },
        { label: "Made", render: ({ created_at: at }) => ago(at) },
        { label: "Actions", render: (key) => html`<${Actions} known=${key} onOpen=${onOpen} />` },
    ];
    const empty = "No key works at present. Create one to ask models.";
    return html`<${Table} caption="Keys of this account" columns=${columns} rows=${keys} empty=${empty} />`;
}

function State({ known }) {
    if (known.revoked_at) return html`<${Badge} kind="bad">revoked<//>${" "}${ago(known.revoked_at)}`;
    if (!works(known)) return html`<${Badge} kind="bad">ended<//>${" "}${ago(known.expires_at)}`;
    if (known.replaced_by) return html`<${Badge} kind="warning">replaced<//>${" "}ends ${ago(known.expires_at)}`;
    if (known.expires_at) return html`<${Badge} kind="good">works<//>${" "}until ${moment(known.expires_at)}`;
    return html`<${Badge} kind="good">works<//>`;
}

function Actions({ known, onOpen }) {
    if (!works(known)) return null;
    const action = (what, text, kind = "quiet small") => html`<${Button}
        kind=${kind}
        aria-label=${`${text} ${known.name}`}
        onClick=${() => onOpen({ what, known })}
    >
        ${text}
    <//>`;
    return html`<div class="actions">
        ${action("change", "Change")} ${!known.replaced_by && action("rotate", "Rotate")} ${action("revoke", "Revoke", "danger small")}
    </div>`;
}

function works({ revoked_at: revoked, expires_at: end }) {
    return revoked === null && (end === null || new Date(end) > new Date());
}
