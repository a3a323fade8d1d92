/** The authors of models, what they have earned, and whose account gets it. */
import { get, put, remove, useLoaded, useTurning } from "../api.js";
import { Badge, Busy, Button, Card, Dialog, Pager, Table, Trouble } from "../components.js";
import { credits } from "../format.js";
import { html, useState } from "../html.js";
import { Picker } from "../picker.js";
import { address } from "../router.js";
import { accounts } from "./account-search.js";
import { wrongId } from "./administration-subject.js";
import { useAction } from "./node-actions.js";
import { short } from "./request-names.js";

const ROWS = 50;
const LONGEST = 60;
const path = (author) => `/api/authors/${encodeURIComponent(author)}`;

export function Authors() {
    const { before: after, steps } = useTurning();
    const load = (signal) => get("/api/authors", { after, limit: ROWS }, { signal });
    const { value, problem, reload } = useLoaded(load, [after]);
    return html`<${Card} title="Authors" wide>
        <p class="hint">
            Whom a model's manifest names as its authors. An author with a key claims with a signature what they have earned; whose
            the earnings of the others are, you say. What nobody has claimed waits in the author's name.
        </p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value ? html`<${List} authors=${value.data} onDone=${reload} /><${Turn} ...${steps(value.next)} />` : !problem && html`<${Busy} />`}
    <//>`;
}

/** Authors are in the order of their names. */
function Turn({ onNewer, onOlder }) {
    return html`<${Pager} ...${{ onNewer, onOlder }} words=${["← Before", "After →"]} />`;
}

function List({ authors, onDone }) {
    const [asked, setAsked] = useState(null);
    const columns = [
        { label: "Author", render: ({ author, name }) => html`<span title=${author}>${name}</span>` },
        { label: "Key", render: ({ key }) => (key ? html`<code title=${key}>${short(key)}</code>` : html`<span class="muted">none</span>`) },
        { label: "Earned, and not paid out", numeric: true, render: ({ nanocredits }) => credits(nanocredits) },
        { label: "Whose it is", render: (author) => html`<${Whose} author=${author} />` },
        { label: "Actions", render: (author) => html`<${Actions} author=${author} onAsk=${setAsked} onDone=${onDone} />` },
    ];
    return html`<${Table}
            caption="Authors"
            columns=${columns}
            rows=${authors}
            rowKey=${({ author }) => author}
            empty="No model that was used names an author."
        />
        ${asked && html`<${Give} author=${asked} onClose=${() => setAsked(null)} onDone=${onDone} />`}`;
}

function Whose({ author: { is_claimed: claimed, account } }) {
    if (!claimed) return html`<${Badge}>not claimed<//>`;
    return html`<a href=${address("administration", { part: "credits", account })} title=${account}>${short(account)}</a>`;
}

function Actions({ author, onAsk, onDone }) {
    const { run, busy, problem } = useAction();
    if (author.key) return null;
    const back = async () => {
        if (await run(() => remove(path(author.author)))) onDone();
    };
    const { name, is_claimed: claimed } = author;
    return html`<div class="actions">
            <${Button} kind="small" onClick=${() => onAsk(author)} aria-label=${`Give to an account: ${name}`}>Give to an account …<//>
            ${claimed && html`<${Button} kind="small danger" busy=${busy} onClick=${back} aria-label=${`Take back: ${name}`}>Take back<//>`}
        </div>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}

/** Which account is to get what the author earns. */
function Give({ author: { author, name }, onClose, onDone }) {
    const [chosen, setChosen] = useState(null);
    const [typed, setTyped] = useState(null);
    const [error, setError] = useState();
    const { run, busy, problem, clear } = useAction();
    const type = (text) => {
        setTyped(text);
        setError();
        clear();
    };
    const choose = (found) => {
        setChosen(found);
        type(null);
    };
    const submit = async (event) => {
        event.preventDefault();
        const account = typed === null ? chosen?.id : typed.trim().toLowerCase();
        const wrong = wrongId(account ?? "");
        setError(wrong && "Choose an account of those found, or give its id.");
        if (wrong) return;
        if (await run(() => put(path(author), { account }))) {
            onDone();
            onClose();
        }
    };
    return html`<${Dialog} title=${`Whose is what ${name} earns?`} onClose=${onClose}>
        <p>All that the author has earned and not been paid goes to the account, and what comes. You can take it back.</p>
        <form class="form picking" onSubmit=${submit} novalidate>
            <${Picker}
                label="Account"
                placeholder="Name, address or id"
                maxlength=${LONGEST}
                chosen=${chosen ? `${chosen.name} (${chosen.detail})` : ""}
                typed=${typed}
                search=${accounts}
                error=${error ?? problem?.message}
                focused
                onType=${type}
                onChoose=${choose}
            />
            <div class="actions">
                <${Button} onClick=${onClose}>Leave it<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Give it<//>
            </div>
        </form>
    <//>`;
}
