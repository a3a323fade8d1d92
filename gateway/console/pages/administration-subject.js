/** Which account or user is meant: found by a name or an address, or given by an id; one's own to begin with. */
import { useLoaded } from "../api.js";
import { Button, Field } from "../components.js";
import { html, useState } from "../html.js";
import { Picker } from "../picker.js";
import { accountOf, accounts, asFound, users } from "./account-search.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const EXAMPLE = "01a217a0-b074-71a6-b99a-11ca9a46fa14";
const KINDS = {
    account: { label: "Account", text: "an account", search: accounts },
    user: { label: "User", text: "a user", search: users },
};
/** A text that the search takes, in whatever letters. */
const LONGEST = 60;

/** What is wrong with an id; undefined when nothing is. */
export function wrongId(id) {
    return ID.test(id.trim()) ? undefined : `Give the id, such as ${EXAMPLE}.`;
}

/**
 * Who is meant, and how another is chosen. An account that was given by its id is named as soon as its name is known.
 *
 * @param {{ kind: string, id: string, words?: string }} initial
 */
export function useSubject(initial) {
    const [subject, setSubject] = useState(initial);
    const { kind, id, words } = subject;
    const load = async (signal) => (kind === "account" && !words ? accountOf(id, signal) : null);
    const { value: account } = useLoaded(load, [kind, id]);
    const named = account?.id === id ? inWords(asFound(account)) : words;
    return [{ ...subject, words: named }, setSubject];
}

/** A form that asks for another one; `kinds` are those to choose from. */
export function SubjectForm({ kinds, subject, onChosen, busy, focused }) {
    const [kind, setKind] = useState(subject.kind);
    const [typed, setTyped] = useState(null);
    const [error, setError] = useState();
    const { label, text, search } = KINDS[kind];
    const type = (text) => {
        setTyped(text);
        setError();
    };
    const choose = (chosen) => {
        type(null);
        onChosen({ kind, ...chosen });
    };
    const submit = (event) => {
        event.preventDefault();
        if (typed === null) return;
        if (wrongId(typed)) setError(`Choose ${text} of those found, or give the id, such as ${EXAMPLE}.`);
        else choose({ id: typed.trim().toLowerCase() });
    };
    const change = ({ currentTarget }) => {
        setKind(currentTarget.value);
        type("");
    };
    const options = kinds.map((each) => [each, KINDS[each].text]);
    return html`<form class="row" onSubmit=${submit} novalidate>
        ${kinds.length > 1 && html`<${Field} label="Of" options=${options} value=${kind} onChange=${change} />`}
        <${Picker}
            label=${label}
            placeholder="Name, address or id"
            maxlength=${LONGEST}
            chosen=${subject.words ?? subject.id}
            typed=${typed}
            search=${search}
            error=${error}
            focused=${focused}
            onType=${type}
            onChoose=${(found) => choose({ id: found.id, words: inWords(found) })}
        />
        <${Button} type="submit" busy=${busy}>Show<//>
    </form>`;
}

function inWords({ name, detail }) {
    return `${name} (${detail})`;
}
