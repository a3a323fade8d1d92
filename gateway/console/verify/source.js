/** One file: chosen, pasted, or fetched from this gateway. */
import { Button, Field, useId } from "../components.js";
import { count } from "../format.js";
import { html, useState } from "../html.js";
import { FILES, OPTIONAL, textOf } from "./files.js";

/**
 * `onType` is told what is pasted, `onTake` what comes as a whole. A file is `{ text, name }`, without a name when it was
 * pasted.
 */
export function Source({ kind, file, error, onType, onTake, onTrouble }) {
    const { label, hint, here } = FILES[kind];
    const choose = async ({ target }) => {
        const [chosen] = target.files;
        target.value = "";
        if (!chosen) return;
        await textOf(chosen).then((text) => onTake({ text, name: chosen.name }), tell(onTrouble));
    };
    if (file?.name) {
        return html`<${Chosen} label=${label} file=${file} error=${error} onRemove=${() => onType(undefined)} />`;
    }
    return html`<div class="source">
        <${Field}
            label=${label}
            hint=${hint}
            error=${error}
            optional=${OPTIONAL.includes(kind)}
            rows="3"
            spellcheck=${false}
            value=${file?.text ?? ""}
            onInput=${({ target }) => onType({ text: target.value })}
        />
        <div class="actions">
            <${Choose} label=${label} onChange=${choose} />
            ${here && html`<${Fetch} label=${label} path=${here} onTake=${onTake} onTrouble=${onTrouble} />`}
        </div>
    </div>`;
}

function tell(onTrouble) {
    return (problem) => onTrouble(problem.message);
}

/** Its content may be long, so only its name is shown. */
function Chosen({ label, file, error, onRemove }) {
    const id = useId("chosen");
    return html`<div class=${`field chosen ${error ? "wrong" : ""}`} role="group" aria-labelledby=${id}>
        <span class="label" id=${id}>${label}</span>
        <p class="file">
            <code>${file.name}</code><span class="hint">${count(file.text.length)} characters</span>
            <${Button} class="button quiet small" aria-label=${`Remove ${file.name}`} onClick=${onRemove}>Remove<//>
        </p>
        ${error && html`<p class="error">${error}</p>`}
    </div>`;
}

function Choose({ label, onChange }) {
    const id = useId("choose");
    return html`<span class="choose">
        <input type="file" id=${id} class="unseen" aria-label=${`${label}: choose a file`} onChange=${onChange} />
        <label class="button small" for=${id} aria-hidden="true">Choose a file</label>
    </span>`;
}

function Fetch({ label, path, onTake, onTrouble }) {
    const [busy, setBusy] = useState(false);
    const fetchIt = async () => {
        setBusy(true);
        try {
            const response = await fetch(path);
            if (!response.ok) throw new Error(`This gateway has nothing at ${path}.`);
            await onTake({ text: await response.text(), name: path });
        } catch (problem) {
            onTrouble(problem instanceof TypeError ? "This gateway can't be reached." : problem.message);
            setBusy(false);
        }
    };
    return html`<${Button} class="button small" busy=${busy} aria-label=${`${label}: take this gateway's`} onClick=${fetchIt}>
        Take this gateway's
    <//>`;
}
