/** Verifying a receipt or a statement. All of it happens in the browser: no file leaves the machine. */
import { Button, Card, Heading, Notice } from "../components.js";
import { html, render, useEffect, useRef, useState } from "../html.js";
import { kindOf, OPTIONAL, REQUIRED, subjectOf, textOf, withChanges } from "./files.js";
import { Findings } from "./findings.js";
import { Source } from "./source.js";
import { load, verify } from "./verifier.js";

/** What was given, what was found in it, and what went wrong. */
function useVerification() {
    const [given, setGiven] = useState({});
    const [found, setFound] = useState(null);
    const [trouble, setTrouble] = useState(null);
    // Files that are on their way arrive one after the other, and none may undo another.
    const latest = useRef(given);
    useEffect(() => {
        // From here on no network is needed.
        load().catch((problem) => setTrouble(problem.message));
        const text = sessionStorage.getItem(HANDED_OVER);
        sessionStorage.removeItem(HANDED_OVER);
        if (text) take({ receipt: { text, name: "the receipt from the console" } });
    }, []);
    const change = (changes) => {
        latest.current = withChanges(latest.current, changes);
        setGiven(latest.current);
        setFound(null);
        setTrouble(null);
    };
    const run = async () => {
        const files = Object.entries(latest.current).filter(([, file]) => file?.text.trim());
        const texts = Object.fromEntries(files.map(([kind, { text }]) => [kind, text]));
        if (!subjectOf(latest.current)) return setFound({ unreadable: { input: "receipt", why: MISSING } });
        await verify(texts).then(setFound, (problem) => setTrouble(problem.message));
    };
    const take = async (changes) => {
        change(changes);
        if (subjectOf(latest.current)) await run();
    };
    return { given, found, trouble, setTrouble, change, take, run };
}

/** Leads to the results whenever it is called. */
function useResults() {
    const results = useRef(null);
    const [looked, setLooked] = useState(0);
    useEffect(() => {
        if (looked === 0) return;
        results.current.scrollIntoView();
        results.current.focus({ preventScroll: true });
    }, [looked]);
    return { results, look: () => setLooked((times) => times + 1) };
}

function Page() {
    const { given, found, trouble, setTrouble, change, take, run } = useVerification();
    const { results, look } = useResults();
    const drop = async (event) => {
        event.preventDefault();
        const files = await sorted([...event.dataTransfer.files]).catch((problem) => setTrouble(problem.message));
        if (files) await take(files).then(look);
    };
    const submit = async (event) => {
        event.preventDefault();
        await run().then(look);
    };
    const source = (kind) => html`<${Source}
        key=${kind}
        kind=${kind}
        file=${given[kind]}
        error=${found?.unreadable?.input === kind ? found.unreadable.why : null}
        onType=${(file) => change({ [kind]: file })}
        onTake=${(file) => take({ [kind]: file })}
        onTrouble=${setTrouble}
    />`;
    return html`<div onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
        <header class="bar">
            <a class="brand" href="/console/"><img src="/console/icon.svg" alt="" width="24" height="24" />Commonwatt</a>
        </header>
        <main class="verify">
            <${Heading} title="Verify a receipt or a statement" about=${ABOUT} />
            <form class="form" onSubmit=${submit} novalidate>
                <${Card} title="What you have">
                    <p class="hint drop">Drop the files anywhere on this page; each finds its place.</p>
                    <div class="sources">${REQUIRED.map(source)}</div>
                    <details open=${OPTIONAL.some((kind) => given[kind])}>
                        <summary>Your request, the answer, a proof, a statement with its receipts</summary>
                        <div class="sources">${OPTIONAL.map(source)}</div>
                    </details>
                    <div class="actions"><${Button} kind="primary" type="submit">Verify<//></div>
                <//>
            </form>
            ${trouble && html`<${Notice} kind="error">${trouble}<//>`}
            <div ref=${results} tabindex="-1" aria-live="polite">${found && html`<${Findings} found=${found} />`}</div>
        </main>
    </div>`;
}

const ABOUT = `Who signed it, whether every figure in it follows, and whether the public log has it: a receipt's, or, where you
    drop a statement, what an operator or an author has earned in an epoch. Everything is computed in
    this browser: nothing is uploaded, and once this page is loaded it needs no network.`;

/** Where a request's page in the console leaves its receipt, for this page to take. */
const HANDED_OVER = "receipt";

const MISSING = "Give a receipt or a statement first: drop its file on this page, choose it, or paste it.";

/** Dropped files, each under what it is. */
async function sorted(files) {
    const read = await Promise.all(files.map(async (file) => ({ text: await textOf(file), name: file.name })));
    return Object.fromEntries(
        read.map((file) => {
            const kind = kindOf(file.text);
            if (!kind) throw new Error(`${file.name} is none of these files by its looks: choose it where it belongs.`);
            return [kind, file];
        }),
    );
}

render(html`<${Page} />`, document.getElementById("page"));
