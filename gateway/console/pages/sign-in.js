/** Signing in: as a page of its own, and over a page whose session has ended. */
import { Button, Field, Notice, useFirstWrong } from "../components.js";
import { html, useEffect, useState } from "../html.js";
import { signIn } from "../session.js";
import { Brand } from "../shell.js";

export function SignInPage({ onSignedIn }) {
    useEffect(() => {
        document.title = "Sign in · Commonwatt";
    }, []);
    return html`<main class="alone">
        <${Brand} />
        <h1>Sign in</h1>
        <${SignIn} onSignedIn=${onSignedIn} />
        <p class="hint">
            <code>commonwatt up</code> prints the first address and its password. Further users are made by administrators, or
            with <code>commonwatt admin create-user</code>.
        </p>
    </main>`;
}

/** The form; `onSignedIn` is awaited before it can be used again. */
export function SignIn({ email: known = "", onSignedIn }) {
    const [email, setEmail] = useState(known);
    const [password, setPassword] = useState("");
    const [problem, setProblem] = useState(null);
    const [busy, setBusy] = useState(false);
    const form = useFirstWrong(problem);
    const submit = async (event) => {
        event.preventDefault();
        const missing = incomplete(email, password);
        setProblem(missing);
        if (missing) return;
        setBusy(true);
        try {
            await signIn(email.trim(), password);
            await onSignedIn();
        } catch (failure) {
            setProblem(failure);
            setBusy(false);
        }
    };
    const wrong = problem?.status === 401 ? problem.message : null;
    return html`<form class="form" ref=${form} onSubmit=${submit} novalidate>
        <${Elsewhere} problem=${problem} />
        <${Field}
            label="E-mail address"
            type="email"
            autocomplete="username"
            value=${email}
            error=${problem?.email}
            autofocus=${known === ""}
            onInput=${({ target }) => setEmail(target.value)}
        />
        <${Field}
            label="Password"
            type="password"
            autocomplete="current-password"
            value=${password}
            error=${wrong ?? problem?.password}
            autofocus=${known !== ""}
            onInput=${({ target }) => setPassword(target.value)}
        />
        <${Button} kind="primary" type="submit" busy=${busy}>Sign in<//>
    </form>`;
}

function incomplete(email, password) {
    if (!/^\S+@\S+$/.test(email.trim()))
        return { email: "Enter the address that you sign in with, such as admin@localhost." };
    return password === "" ? { password: "Enter your password." } : null;
}

/** What went wrong with none of a form's fields: too many wrong passwords are told with the time to wait. */
export function Elsewhere({ problem }) {
    if (!problem?.message || problem.status === 401) return null;
    if (problem.status !== 429) return html`<${Notice} kind="error">${problem.message}<//>`;
    return html`<${Notice} kind="warning" title="Too many tries.">
        ${problem.message}
        ${problem.retryAfter && html` <${Countdown} seconds=${problem.retryAfter} />`}
    <//>`;
}

function Countdown({ seconds }) {
    const [until] = useState(() => Date.now() + seconds * 1000);
    const [left, setLeft] = useState(seconds);
    useEffect(() => {
        const timer = setInterval(() => setLeft(Math.max(0, Math.ceil((until - Date.now()) / 1000))), 1000);
        return () => clearInterval(timer);
    }, []);
    const text =
        left === 0 ? "You can try again now." : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left.`;
    return html`<span aria-live="off">${text}</span>`;
}
