/** What is asked before a node is renamed or removed. */
import { patch, remove } from "../api.js";
import { Button, Dialog, Field, Notice } from "../components.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

const LONGEST_NAME = 100;

export function RenameDialog({ node, onClose, onDone }) {
    const [name, setName] = useState(node.name);
    const { run, busy, problem, clear } = useAction();
    const submit = async (event) => {
        event.preventDefault();
        if (await run(() => patch(`/api/nodes/${node.id}`, { name }))) {
            onDone();
            onClose();
        }
    };
    const type = (event) => {
        setName(event.currentTarget.value);
        clear();
    };
    return html`<${Dialog} title="Rename the node" onClose=${onClose}>
        <form class="form" onSubmit=${submit}>
            <${Field}
                label="Name"
                value=${name}
                onInput=${type}
                error=${problem?.message}
                hint="Requests can name it in their provider object: whoever does must use the new name."
                maxlength=${LONGEST_NAME}
                required
            />
            <div class="actions">
                <${Button} onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Rename<//>
            </div>
        </form>
    <//>`;
}

export function RemoveDialog({ node, onClose, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => remove(`/api/nodes/${node.id}`))) onDone();
    };
    return html`<${Dialog} title=${`Remove ${node.name}?`} onClose=${onClose}>
        <p>
            <strong>${node.name}</strong> is removed for good: its connection is closed at once, answers that it computes break
            off, and to come back it has to join anew with another token. What it earned stays in the books.
        </p>
        <p class="hint">To stop it for a while, pause it instead.</p>
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        <div class="actions">
            <${Button} onClick=${onClose}>Keep it<//>
            <${Button} kind="danger" busy=${busy} onClick=${press}>${`Remove ${node.name}`}<//>
        </div>
    <//>`;
}
