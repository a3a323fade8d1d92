/** The console's shell: who is signed in, where one is, and the page that belongs there. */
import { get, useLoaded } from "./api.js";
import { Busy, Button, Dialog, Notice } from "./components.js";
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./html.js";
import { navigate, useHere } from "./router.js";
import { resume, signOut, whenSignInIsNeeded } from "./session.js";
import { SignIn, SignInPage } from "./pages/sign-in.js";
import { Shell } from "./shell.js";
import { PAGES } from "./pages.js";

function App() {
    const [me, setMe] = useState(undefined);
    const [again, setAgain] = useState(null);
    const enter = async () => setMe(await get("/api/me"));
    useEffect(() => {
        whenSignInIsNeeded(() => new Promise((signedIn) => setAgain(() => signedIn)));
        resume()
            .then((resumed) => (resumed ? enter() : setMe(null)))
            .catch((problem) => setMe({ problem }));
    }, []);
    if (me === undefined) return html`<${Busy}>Opening the console …<//>`;
    if (me?.problem) return html`<${Unreachable} problem=${me.problem} />`;
    if (me === null) return html`<${SignInPage} onSignedIn=${enter} />`;
    const leave = async () => {
        await signOut().catch(() => {});
        setMe(null);
    };
    return html`<${Here} me=${me} onSignOut=${leave} />
        ${
            again &&
            html`<${Return} me=${me} onSignedIn=${() => {
                again();
                setAgain(null);
            }} onOther=${setMe} />`
        }`;
}

/** The page of the present place, within the shell. */
function Here({ me, onSignOut }) {
    const { name, parameters } = useHere();
    const page = PAGES.find((page) => page.name === (name || "overview"));
    const allowed = page && (!page.adminsOnly || me.is_admin);
    return html`<${Shell} me=${me} current=${page?.name} onSignOut=${onSignOut}>
        ${
            allowed
                ? html`<${Loaded} key=${`${me.id} ${page.name}`} page=${page} me=${me} parameters=${parameters} />`
                : html`<${Nowhere} />`
        }
    <//>`;
}

/** Where a browser begins to read: later pages are announced by their heading. */
let arrived = false;

function Loaded({ page, me, parameters }) {
    const { value: module, problem } = useLoaded(() => page.load(), [page.name]);
    const [failure, resetFailure] = useErrorBoundary((error) => console.error(error));
    const frame = useRef(null);
    useEffect(() => {
        if (!module) return;
        document.title = `${module.title} · Commonwatt`;
        if (arrived) frame.current?.querySelector("h1")?.focus({ preventScroll: true });
        arrived = true;
        scrollTo(0, 0);
    }, [module]);
    if (problem) return html`<${Notice} kind="error">This page can't be loaded. Reload the console.<//>`;
    if (failure) return html`<${Broken} onRetry=${resetFailure} />`;
    if (!module) return html`<${Busy} />`;
    return html`<div ref=${frame}><${module.default} me=${me} parameters=${parameters} navigate=${navigate} /></div>`;
}

/** The session has ended while the page was open: whoever signs in again finds everything as it was. */
function Return({ me, onSignedIn, onOther }) {
    const enter = async () => {
        onSignedIn();
        const now = await get("/api/me");
        if (now.id !== me.id) onOther(now);
    };
    return html`<${Dialog} title="Sign in again" closable=${false}>
        <p>Your session has ended. Once you are signed in, you go on where you were.</p>
        <${SignIn} email=${me.email} onSignedIn=${enter} />
    <//>`;
}

function Broken({ onRetry }) {
    const action = html`<${Button} onClick=${onRetry}>Show it again<//>`;
    return html`<${Notice} kind="error" action=${action}>This page met something that it can't show.<//>`;
}

function Nowhere() {
    return html`<${Notice} kind="warning" title="There is no such page.">
        <a href="#/overview">Go to the overview</a>
    <//>`;
}

function Unreachable({ problem }) {
    const action = html`<${Button} onClick=${() => location.reload()}>Try again<//>`;
    return html`<main class="alone"><${Notice} kind="error" action=${action}>${problem.message}<//></main>`;
}

render(html`<${App} />`, document.getElementById("app"));
