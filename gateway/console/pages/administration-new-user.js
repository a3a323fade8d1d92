/** A new user, and the first password, shown once. */
import { post } from "../api.js";
import { Button, Choice, Dialog, Field, Notice, useFirstWrong } from "../components.js";
import { html, useState } from "../html.js";
import { Password } from "./administration-password.js";

const RANKS = [
    ["no", "No"],
    ["yes", "Yes"],
];

/** Asks who it is, then shows the password. `onMade` is told as soon as the user is there. */
export function NewUser({ onClose, onMade }) {
    const [made, setMade] = useState(null);
    const done = (user) => {
        setMade(user);
        onMade();
    };
    // Another dialog, so that its title is read.
    if (made) {
        const { name, email, password } = made;
        const title = `The user “${name}”`;
        return html`<${Password} key="password" ...${{ title, email, password, onClose }} label="Copy the first password" />`;
    }
    return html`<${Dialog} key="form" title="New user" onClose=${onClose}>
        <${Form} onDone=${done} onCancel=${onClose} />
    <//>`;
}

function Form({ onDone, onCancel }) {
    const [user, setUser] = useState({ email: "", name: "", rank: "no" });
    const [errors, setErrors] = useState({});
    const [busy, setBusy] = useState(false);
    const form = useFirstWrong(errors);
    const type = ({ currentTarget: { name, value } }) => setUser({ ...user, [name]: value });
    const submit = async (event) => {
        event.preventDefault();
        const wrong = mistakes(user);
        setErrors(wrong);
        if (Object.keys(wrong).length > 0) return;
        setBusy(true);
        const body = { email: user.email.trim(), name: user.name.trim(), is_admin: user.rank === "yes" };
        try {
            onDone({ ...(await post("/api/users", body)), ...body });
        } catch (problem) {
            setErrors({ [fieldOf(problem)]: problem.message });
            setBusy(false);
        }
    };
    const input = (name, more) => html`<${Field} ...${{ name, ...more }} value=${user[name]} error=${errors[name]} onInput=${type} />`;
    return html`<form class="form" ref=${form} onSubmit=${submit} novalidate>
        ${errors.elsewhere && html`<${Notice} kind="error">${errors.elsewhere}<//>`}
        ${input("email", { label: "E-mail address", type: "email", autocomplete: "off", autofocus: true, hint: "To sign in with." })}
        ${input("name", { label: "Name", autocomplete: "off", hint: "Of the user, and of an account of their own." })}
        <div class="field">
            <p aria-hidden="true">Administrator</p>
            <${Choice} label="Administrator" value=${user.rank} options=${RANKS} onChange=${(rank) => setUser({ ...user, rank })} />
            <p class="hint">Administrators see every account, move credits and make users, as you do.</p>
        </div>
        <div class="actions">
            <${Button} kind="quiet" onClick=${onCancel}>Cancel<//>
            <${Button} kind="primary" type="submit" busy=${busy}>Make the user<//>
        </div>
    </form>`;
}

function mistakes({ email, name }) {
    const errors = {};
    if (!/^\S+@\S+$/.test(email.trim())) errors.email = "Give an address to sign in with, such as ana@example.com.";
    if (name.trim() === "") errors.name = "A name has 1 to 100 characters.";
    return errors;
}

/** The field that a refusal is about. */
function fieldOf(problem) {
    if (problem.status === 409) return "email";
    if (/^A name has/.test(problem.message)) return "name";
    return ["email", "name"].includes(problem.field) ? problem.field : "elsewhere";
}
