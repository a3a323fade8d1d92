/** Which account or user is meant: by its id, the administrator's own to begin with. */
import { Button, Field } from "../components.js";
import { html, useState } from "../html.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What is wrong with an id; undefined when nothing is. */
export function wrongId(id) {
    return ID.test(id.trim()) ? undefined : "Give the id, such as 01a217a0-b074-71a6-b99a-11ca9a46fa14.";
}

/** A form that names one; `kinds` are those to choose from, `[value, text]` each. */
export function SubjectForm({ kinds, initial, onChosen, busy }) {
    const [form, setForm] = useState(initial);
    const [error, setError] = useState();
    const submit = (event) => {
        event.preventDefault();
        const wrong = wrongId(form.id);
        setError(wrong);
        if (!wrong) onChosen({ ...form, id: form.id.trim() });
    };
    const type = (field) => (event) => {
        setForm({ ...form, [field]: event.currentTarget.value });
        setError();
    };
    return html`<form class="row" onSubmit=${submit} novalidate>
        ${kinds.length > 1 && html`<${Field} label="Of" options=${kinds} value=${form.kind} onChange=${type("kind")} />`}
        <${Field} label="Id" value=${form.id} onInput=${type("id")} error=${error} spellcheck=${false} autocomplete="off" />
        <${Button} type="submit" busy=${busy}>Show<//>
    </form>`;
}
