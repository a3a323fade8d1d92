/** What one is the author of: earnings that are one's own, and claims to more. */
import { get, post, useLoaded } from "../api.js";
import { Busy, Button, Card, Copy, Field, Notice, Table, Trouble, useFirstWrong } from "../components.js";
import { credits } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { authorName } from "./statement-words.js";

const ROWS = 200;
/** Pages of authors that are read at most. */
const PAGES = 15;
const LONGEST = 200;
const EXAMPLE = "Ada Lovelace ed25519:…";

export function AuthorsCard({ me }) {
    const { value, problem, reload } = useLoaded(own);
    return html`<${Card} title="What you are the author of" wide>
        <p class="hint">
            Authors that a model's manifest names get a share of what is paid for its answers. Who has the key that stands beside
            the name claims it for their account; without a key an administrator says whose it is.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${List} authors=${value.authors} /><${Claim} me=${me} gateway=${value.gateway} onDone=${reload} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

/** All authors whose earnings are one's own, and what claims call this gateway. */
async function own(signal) {
    const authors = [];
    let page = { next: undefined };
    for (let read = 0; read < PAGES && page.next !== null; read++) {
        page = await get("/api/authors", { after: page.next, limit: ROWS }, { signal });
        authors.push(...page.data.filter(({ is_mine: mine }) => mine));
    }
    return { authors, gateway: page.gateway };
}

function List({ authors }) {
    const columns = [
        { label: "Author", render: ({ author, name }) => html`<span title=${author}>${name}</span>` },
        { label: "Claimed with", render: ({ key }) => (key ? "a signature" : "an administrator's word") },
        { label: "Earned, and not paid out", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
    ];
    return html`<${Table} caption="Authors" columns=${columns} rows=${authors} rowKey=${({ author }) => author} empty="No author's earnings are yours." />`;
}

function Claim({ me, gateway, onDone }) {
    const [text, setText] = useState("");
    const [errors, setErrors] = useState({});
    const [claimed, setClaimed] = useState(null);
    const { run, busy, problem, clear } = useAction();
    const form = useFirstWrong(errors);
    const type = ({ currentTarget: { value } }) => {
        setText(value);
        setErrors({});
        setClaimed(null);
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (!/^\s*[\w-]+\.[\w-]+\.[\w-]+\s*$/.test(text)) return setErrors({ claim: "Give the line that the command prints: three parts with dots between." });
        await run(async () => {
            setClaimed(await post("/api/authors/claims", { claim: text.trim() }));
            setText("");
            onDone();
        });
    };
    return html`<h3>Claim an author's earnings</h3>
        <${Command} account=${me.account} gateway=${gateway} />
        ${claimed && html`<${Notice} kind="good">What ${authorName(claimed.author)} earns is yours now.<//>`}
        <form class="form" ref=${form} onSubmit=${submit} novalidate>
            <${Field}
                label="Claim"
                rows=${3}
                autocomplete="off"
                spellcheck=${false}
                value=${text}
                onInput=${type}
                error=${errors.claim ?? problem?.message}
                hint="What the command prints."
            />
            <div><${Button} kind="primary" type="submit" busy=${busy}>Claim it<//></div>
        </form>`;
}

/** How the claim is signed, where the key is. */
function Command({ account, gateway }) {
    const [author, setAuthor] = useState("");
    const command = `commonwatt author claim --key author.key --author ${quoted(author.trim() || EXAMPLE)} --gateway ${quoted(gateway)} --account ${account}`;
    return html`<p>Where the key is, sign that this account of this gateway is yours, and give what is printed below. It works once.</p>
        <div class="row">
            <${Field}
                label="Author"
                autocomplete="off"
                maxlength=${LONGEST}
                placeholder=${EXAMPLE}
                value=${author}
                onInput=${({ currentTarget: { value } }) => setAuthor(value)}
                hint="As the manifest names you, with the key."
            />
            <div class="field"><p>This gateway's log</p><${Copy} text=${gateway} label="Copy the log's name" /></div>
            <div class="field"><p>Your account</p><${Copy} text=${account} label="Copy the account's id" /></div>
        </div>
        <div class="lines"><${Copy} text=${command} label="Copy the command" multiline /></div>`;
}

/** As one word for a shell, whatever is in it. */
function quoted(text) {
    return /^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
