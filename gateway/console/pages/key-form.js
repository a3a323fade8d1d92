/** The form behind a new key and a changed one. */
import { patch, post } from "../api.js";
import { Button, Choice, Field, Notice, useFirstWrong } from "../components.js";
import { html, useState } from "../html.js";
import { LimitFields, OF_MANAGEMENT, asTexts, fieldOf, fromTexts, inWords } from "../limits.js";

const SCOPES = [
    ["inference", "Asking models"],
    ["management", "Managing the account"],
];
const ABOUT = {
    inference: "For /v1: what SDKs, agents and applications use.",
    management: "For /api: reads usage, makes and revokes keys. It asks no models.",
};

/** `onDone` gets what the gateway answered: the new key with its secret, or nothing. */
export function KeyForm({ known, onDone, onCancel }) {
    const [name, setName] = useState(known?.name ?? "");
    const [scope, setScope] = useState(known?.scope ?? "inference");
    const [ends, setEnds] = useState(localText(known?.expires_at));
    const [texts, setTexts] = useState(asTexts(known?.limits));
    const [errors, setErrors] = useState({});
    const [busy, setBusy] = useState(false);
    const form = useFirstWrong(errors);
    const only = scope === "management" ? OF_MANAGEMENT : undefined;
    const submit = async (event) => {
        event.preventDefault();
        const read = fromTexts(texts, only);
        const wrong = { ...read.errors, ...checked(name, ends, known) };
        setErrors(wrong);
        if (Object.keys(wrong).length > 0) return;
        setBusy(true);
        try {
            const body = {
                name: name.trim(),
                limits: read.limits,
                expires_at: ends ? new Date(ends).toISOString() : null,
            };
            onDone(await (known ? change(known, body) : post("/api/keys", { ...body, scope })));
        } catch (problem) {
            setErrors(placed(problem));
            setBusy(false);
        }
    };
    return html`<form class="form" ref=${form} onSubmit=${submit} novalidate>
        ${errors.elsewhere && html`<${Notice} kind="error">${errors.elsewhere}<//>`}
        <${Field}
            label="Name"
            name="name"
            hint="What it is for, such as the application that will use it."
            value=${name}
            error=${errors.name}
            autofocus=${true}
            autocomplete="off"
            onInput=${({ target }) => setName(target.value)}
        />
        ${
            !known &&
            html`<div class="field">
            <${Choice} label="Scope" value=${scope} options=${SCOPES} onChange=${setScope} />
            <p class="hint">${ABOUT[scope]}</p>
        </div>`
        }
        <${Field}
            label="Ends"
            name="expires_at"
            type="datetime-local"
            optional=${true}
            hint="In your own time; without one it works until it is revoked."
            value=${ends}
            error=${errors.expires_at}
            onInput=${({ target }) => setEnds(target.value)}
        />
        <details open=${Boolean(known && inWords(known.limits).length) || Object.keys(errors).some((each) => each in texts)}>
            <summary>Limits</summary>
            <div class="form"><${LimitFields} texts=${texts} errors=${errors} onChange=${setTexts} only=${only} /></div>
        </details>
        <div class="actions">
            <${Button} kind="quiet" onClick=${onCancel}>Cancel<//>
            <${Button} kind="primary" type="submit" busy=${busy}>${known ? "Save" : "Create key"}<//>
        </div>
    </form>`;
}

/** An end that was not touched is not sent: it may have passed meanwhile. */
function change(known, { expires_at: end, ...body }) {
    const untouched = localText(known.expires_at) === localText(end);
    return patch(`/api/keys/${known.id}`, untouched ? body : { ...body, expires_at: end });
}

function checked(name, ends, known) {
    const errors = {};
    const length = [...name.trim()].length;
    if (length < 1 || length > 100) errors.name = "A name has 1 to 100 characters.";
    const untouched = localText(known?.expires_at) === ends;
    if (ends && !untouched && !(new Date(ends) > new Date()))
        errors.expires_at = "Choose a moment that is still to come.";
    return errors;
}

/** Puts a refusal beside the field that it is about. */
function placed(problem) {
    const field = fieldOf(problem) ?? (/^A name has/.test(problem.message) ? "name" : null);
    const shown = [...Object.keys(asTexts()), "name", "expires_at"].includes(field);
    return { [shown ? field : "elsewhere"]: problem.message };
}

/** A moment as a field for local time has it. */
function localText(iso) {
    if (!iso) return "";
    const at = new Date(iso);
    return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
