/** Accounts: who may use them and what they have. Here new users are made, and new passwords for those who have forgotten theirs. */
import { get, useLoaded, useSettled, useTurning } from "../api.js";
import { Badge, Busy, Button, Card, Field, Pager, Table, Trouble } from "../components.js";
import { count, credits, moment } from "../format.js";
import { html, useState } from "../html.js";
import { address } from "../router.js";
import { NewUser } from "./administration-new-user.js";
import { NewPassword } from "./administration-password.js";

const ROWS = 50;
/** A text that the search takes, in whatever letters. */
const LONGEST = 60;

export function Accounts({ me }) {
    const [text, setText] = useState("");
    const [asked, setAsked] = useState(false);
    const [forgetful, setForgetful] = useState(null);
    const sought = useSettled(text.trim());
    const { before, steps, restart } = useTurning();
    const load = (signal) => get("/api/accounts", { all: true, text: sought, before, limit: ROWS }, { signal });
    const { value, problem, reload } = useLoaded(load, [sought, before]);
    const search = ({ currentTarget }) => {
        setText(currentTarget.value);
        restart();
    };
    const made = () => {
        restart();
        reload();
    };
    const action = html`<${Button} kind="primary" onClick=${() => setAsked(true)}>New user<//>`;
    return html`<${Card} title="Accounts" wide actions=${action}>
        <${Field}
            label="Find"
            hint="A part of an account's name, or of a member's name or address."
            type="search"
            maxlength=${LONGEST}
            value=${text}
            onInput=${search}
        />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${List} accounts=${value.data} me=${me} onForgotten=${setForgetful} />
                  <${Pager} ...${steps(value.next)} shown=${value.data.length} />`
            : !problem && html`<${Busy} />`}
        ${asked && html`<${NewUser} onClose=${() => setAsked(false)} onMade=${made} />`}
        ${forgetful && html`<${NewPassword} member=${forgetful} onClose=${() => setForgetful(null)} />`}
    <//>`;
}

function List({ accounts, me, onForgotten }) {
    const columns = [
        { label: "Account", key: "name" },
        { label: "Members", render: ({ members }) => html`<${Members} ...${{ members, me, onForgotten }} />` },
        { label: "Credits", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
        { label: "Nodes", numeric: true, render: ({ nodes }) => count(nodes) },
        { label: "Made", render: ({ created_at: at }) => moment(at) },
        { label: "Actions", render: (account) => html`<${Actions} account=${account} />` },
    ];
    return html`<${Table} caption="Accounts, newest first" columns=${columns} rows=${accounts} empty="No account fits." />`;
}

function Members({ members, me, onForgotten }) {
    return html`<ul class="plain">
        ${members.map((member) => html`<li key=${member.user}><${Member} ...${{ member, me, onForgotten }} /></li>`)}
    </ul>`;
}

function Member({ member, me, onForgotten }) {
    const { user, name, email, role, is_admin: isAdmin } = member;
    const administrates = html` <${Badge} kind="warning">administrator<//>`;
    // One's own is changed on the page “Account”, by whoever knows the present one.
    const forgotten = html` <${Button}
        kind="quiet small"
        aria-label=${`New password for ${name}`}
        onClick=${() => onForgotten(member)}
    >
        New password
    <//>`;
    return html`${name} <span class="muted">${email}, ${role}</span>${isAdmin && administrates}${user !== me.id && forgotten}`;
}

function Actions({ account: { id, name } }) {
    const link = (part, text, full) => html`<a
        class="button quiet small"
        href=${address("administration", { part, account: id })}
        aria-label=${full}
    >
        ${text}
    </a>`;
    return html`<div class="actions">
        ${link("credits", "Give credits", `Give credits to ${name}`)} ${link("limits", "Limits", `Limits of ${name}`)}
    </div>`;
}
