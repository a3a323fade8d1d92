/** Who is signed in, and their account: its members, what it is the author of, the password, what was done in it. */
import { get, useLoaded } from "../api.js";
import { Badge, Busy, Card, Copy, Heading, Notice, Table, Trouble } from "../components.js";
import { count, credits, moment } from "../format.js";
import { html } from "../html.js";
import { AuthorsCard } from "./account-authors.js";
import { PasswordCard } from "./account-password.js";
import { AuditLog } from "./audit-log.js";

export const title = "Account";

export default function Account({ me }) {
    return html`<div class="managing">
        <${Heading} title=${title} about=${`You are signed in as ${me.name}, ${me.email}.`} />
        ${me.administers_elsewhere && html`<${Notice}>Administrators of this gateway act at another address of it.<//>`}
        <${Own} /> <${AuthorsCard} me=${me} /> <${PasswordCard} me=${me} /> <${AuditLog} />
    </div>`;
}

function Own() {
    const { value, problem, reload } = useLoaded((signal) => get("/api/accounts", null, { signal }));
    return html`<${Card} title="Your account" wide>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? value.data.map((account) => html`<${Facts} key=${account.id} account=${account} />`)
            : !problem && html`<${Busy} />`}
    <//>`;
}

function Facts({ account }) {
    const told = [
        ["Name", account.name],
        ["Credits", credits(account.nanocredits)],
        ["Nodes", count(account.nodes)],
        ["Made", moment(account.created_at)],
    ];
    const administrates = html`<${Badge} kind="warning">administrator<//>`;
    const columns = [
        { label: "Name", key: "name" },
        { label: "E-mail address", key: "email" },
        { label: "Role", render: ({ role, is_admin: isAdmin }) => html`${role} ${isAdmin && administrates}` },
    ];
    return html`<dl class="facts">
            ${told.map(([word, value]) => html`<div><dt>${word}</dt><dd>${value}</dd></div>`)}
        </dl>
        <${Copy} text=${account.id} label="Copy the id" />
        <h3>Members</h3>
        <${Table} caption="Members" columns=${columns} rows=${account.members} rowKey=${({ user }) => user} />`;
}
