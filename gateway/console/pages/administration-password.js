/** Passwords that the gateway makes for others: shown once, and another one for whoever has forgotten theirs. */
import { post } from "../api.js";
import { Button, Copy, Dialog, Notice } from "../components.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

/** A password, this one time. `label` is what copies it. */
export function Password({ title, label, email, password, onClose }) {
    return html`<${Dialog} title=${title} onClose=${onClose}>
        <div class="form">
            <${Notice} kind="warning" title="Copy it now.">The gateway keeps a hash of it only, so nobody can show it again.<//>
            <${Copy} text=${password} label=${label} />
            <div class="field">
                <p class="hint">Sign in here, as ${email}</p>
                <${Copy} text=${location.origin + location.pathname} label="Copy the address" />
            </div>
            <p class="hint">Whoever has signed in chooses another password on the page “Account”.</p>
            <div class="actions"><${Button} kind="primary" onClick=${onClose}>I have copied it<//></div>
        </div>
    <//>`;
}

/** Asks whether a member of an account is to have another password, then shows it. */
export function NewPassword({ member: { user, name, email }, onClose }) {
    const [password, setPassword] = useState(null);
    const { run, busy, problem } = useAction();
    const submit = (event) => {
        event.preventDefault();
        run(async () => setPassword((await post(`/api/users/${user}/password`)).password));
    };
    // Another dialog, so that its title is read.
    if (password) {
        const title = `The new password of “${name}”`;
        return html`<${Password} key="password" ...${{ title, email, password, onClose }} label="Copy the password" />`;
    }
    return html`<${Dialog} key="form" title=${`A new password for “${name}”?`} onClose=${onClose}>
        <form class="form" onSubmit=${submit}>
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <p>
                ${email} can't sign in with the present one any more, and is signed out everywhere within 15 minutes. Keys go on. Make
                sure that it is they who ask.
            </p>
            <div class="actions">
                <${Button} kind="quiet" autofocus=${true} onClick=${onClose}>Keep the present one<//>
                <${Button} kind="danger" type="submit" busy=${busy}>Make a new password<//>
            </div>
        </form>
    <//>`;
}
