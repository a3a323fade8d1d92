/** Another password for who is signed in. */
import { put } from "../api.js";
import { Button, Card, Field, Notice, useFirstWrong } from "../components.js";
import { html, useState } from "../html.js";
import { Elsewhere } from "./sign-in.js";

const EMPTY = { current: "", next: "", again: "" };

export function PasswordCard({ me }) {
    const [texts, setTexts] = useState(EMPTY);
    const [errors, setErrors] = useState({});
    const [changed, setChanged] = useState(false);
    const [busy, setBusy] = useState(false);
    const form = useFirstWrong(errors);
    const type = ({ currentTarget: { name, value } }) => {
        setTexts({ ...texts, [name]: value });
        setChanged(false);
    };
    const submit = async (event) => {
        event.preventDefault();
        const wrong = mistakes(texts);
        setErrors(wrong);
        if (Object.keys(wrong).length > 0) return;
        setBusy(true);
        try {
            await put("/api/me/password", { current: texts.current, new: texts.next });
            setTexts(EMPTY);
            setChanged(true);
        } catch (problem) {
            setErrors(placed(problem));
        }
        setBusy(false);
    };
    const input = (name, label, autocomplete) => html`<${Field}
        ...${{ name, label, autocomplete, type: "password", value: texts[name], error: errors[name], onInput: type }}
    />`;
    return html`<${Card} title="Password" wide>
        <form class="form" ref=${form} onSubmit=${submit} novalidate>
            <${Elsewhere} problem=${errors.elsewhere} />
            ${changed && html`<${Notice} kind="good" title="Your password is changed.">Other sessions have ended.<//>`}
            <input type="text" autocomplete="username" value=${me.email} hidden readonly />
            <div class="pair">
                ${input("current", "Current password", "current-password")}
                ${input("next", "New password", "new-password")}
                ${input("again", "New password, once more", "new-password")}
            </div>
            <div><${Button} kind="primary" type="submit" busy=${busy}>Change the password<//></div>
        </form>
    <//>`;
}

/** What can be seen before the gateway is asked. How long a password must be it says itself. */
function mistakes({ current, next, again }) {
    const errors = {};
    if (current === "") errors.current = "Enter the password that you sign in with.";
    if (next === "") errors.next = "Choose a password.";
    else if (again !== next) errors.again = "This is another one than before. Nobody can tell you later which it was.";
    return errors;
}

/** Puts a refusal beside the field that it is about. */
function placed(problem) {
    const field = { 400: "next", 403: "current" }[problem.status];
    return field ? { [field]: problem.message } : { elsewhere: problem };
}
