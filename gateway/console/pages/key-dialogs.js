/** What can be done with one key: show its secret once, rotate it, revoke it. */
import { post, remove } from "../api.js";
import { Button, Copy, Dialog, Field, Notice } from "../components.js";
import { html, useState } from "../html.js";

const HOUR = 3600;
const OVERLAPS = [
    ["0", "At once"],
    [String(HOUR), "In an hour"],
    [String(24 * HOUR), "In a day"],
    [String(7 * 24 * HOUR), "In seven days"],
];

/** The secret, this one time. */
export function Secret({ created, onClose }) {
    const base = created.scope === "inference" ? `${location.origin}/v1` : `${location.origin}/api`;
    return html`<${Dialog} title=${`The key “${created.name}”`} onClose=${onClose}>
        <div class="form">
            <${Notice} kind="warning" title="Copy it now.">The gateway keeps a hash of it only, so nobody can show it again.<//>
            <${Copy} text=${created.key} label="Copy the key" />
            <div class="field">
                <p class="hint">Base URL</p>
                <${Copy} text=${base} label="Copy the base URL" />
            </div>
            <div class="actions"><${Button} kind="primary" onClick=${onClose}>I have copied it<//></div>
        </div>
    <//>`;
}

export function Rotate({ known, onDone, onClose }) {
    const [overlap, setOverlap] = useState(String(HOUR));
    const { act, problem, busy } = useAct(async () =>
        onDone(await post(`/api/keys/${known.id}/rotate`, { overlap_seconds: Number(overlap) })),
    );
    return html`<${Dialog} title=${`Rotate “${known.name}”`} onClose=${onClose}>
        <form class="form" onSubmit=${act}>
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <p>A new key takes over its name, scope, limits and end.</p>
            <${Field}
                label="The old key ends"
                options=${OVERLAPS}
                value=${overlap}
                onChange=${({ target }) => setOverlap(target.value)}
            />
            <div class="actions">
                <${Button} kind="quiet" onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Rotate key<//>
            </div>
        </form>
    <//>`;
}

export function Revoke({ known, onDone, onClose }) {
    const { act, problem, busy } = useAct(async () => onDone(await remove(`/api/keys/${known.id}`)));
    return html`<${Dialog} title=${`Revoke “${known.name}”?`} onClose=${onClose}>
        <form class="form" onSubmit=${act}>
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <p>
                <code>${known.prefix}…</code> stops working within a second, and requests that run with it end. This can't be
                taken back.
            </p>
            <div class="actions">
                <${Button} kind="quiet" autofocus=${true} onClick=${onClose}>Keep it<//>
                <${Button} kind="danger" type="submit" busy=${busy}>Revoke ${known.name}<//>
            </div>
        </form>
    <//>`;
}

/** One act of a form: busy while it lasts, with the problem if it fails. */
function useAct(work) {
    const [problem, setProblem] = useState(null);
    const [busy, setBusy] = useState(false);
    const act = async (event) => {
        event.preventDefault();
        setBusy(true);
        try {
            await work();
        } catch (failure) {
            setProblem(failure);
            setBusy(false);
        }
    };
    return { act, problem, busy };
}
