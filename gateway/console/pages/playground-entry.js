/** Where the key for the playground comes from. */
import { Button, Card, Field, Notice } from "../components.js";
import { moment, nanocredits } from "../format.js";
import { html, useState } from "../html.js";
import { forgetKey, giveKey, makeKey } from "./playground-key.js";

/** Asks for a key, or makes one when the person says so. */
export function KeyEntry({ me }) {
    return html`<${Card} title="A key to ask with">
        <p>
            Models answer to inference keys alone, as your programs’ requests do. The key stays in this page’s memory
            and is never stored.
        </p>
        <div class="playground-entries">
            <${MakeKey} me=${me} />
            <${GiveKey} me=${me} />
        </div>
    <//>`;
}

function MakeKey({ me }) {
    const [credits, setCredits] = useState("1");
    const read = () => (nanocredits(credits) === null ? "A decimal of credits, such as 0.5." : null);
    const form = useForm(read, () => makeKey(me, credits.trim()));
    return html`<form class="playground-entry" novalidate onSubmit=${form.submit}>
        <${Field}
            label="It may spend at most, in credits"
            hint="It ends within the hour, and soon after you leave this page."
            inputmode="decimal"
            autocomplete="off"
            value=${credits}
            error=${form.error}
            onInput=${(event) => setCredits(event.target.value)}
        />
        <${Button} kind="primary" type="submit" busy=${form.busy}>Make a key for this page<//>
    </form>`;
}

function GiveKey({ me }) {
    const [key, setKey] = useState("");
    const read = () => (/^sk-cw-\S+$/.test(key.trim()) ? null : "A key begins with sk-cw-.");
    const form = useForm(read, () => giveKey(me, key.trim()));
    return html`<form class="playground-entry" novalidate onSubmit=${form.submit}>
        <${Field}
            label="Or use a key of your own"
            hint="It is forgotten when you leave."
            type="password"
            placeholder="sk-cw-…"
            autocomplete="off"
            value=${key}
            error=${form.error}
            onInput=${(event) => setKey(event.target.value)}
        />
        <${Button} type="submit" busy=${form.busy}>Use this key<//>
    </form>`;
}

/** A form of one field: what is wrong with it, here or at the gateway, stands beside it. */
function useForm(read, send) {
    const [state, setState] = useState({ busy: false, error: null });
    const submit = async (event) => {
        event.preventDefault();
        const mistake = read();
        if (mistake) return setState({ busy: false, error: mistake });
        setState({ busy: true, error: null });
        const error = await send().then(
            () => null,
            (problem) => problem.message,
        );
        setState({ busy: false, error });
    };
    return { ...state, submit };
}

/** Says which key is used, and takes it away. */
export function KeyInUse({ held }) {
    const until = held.made && moment(new Date(held.ends).toISOString());
    const whose = held.made ? html`a key made for this page, until ${until}` : "your own key";
    const word = held.made ? "Revoke it" : "Forget it";
    const action = html`<${Button} kind="quiet" onClick=${() => forgetKey()}>${word}<//>`;
    return html`<${Notice} action=${action}>Asking with ${whose}.<//>`;
}
