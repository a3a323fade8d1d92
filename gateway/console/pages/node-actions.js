/** What is done to nodes: pauses, and refusals beside the button that was pressed. */
import { patch } from "../api.js";
import { Button } from "../components.js";
import { html, useState } from "../html.js";

/**
 * Runs one action at a time: `run(action)` waits for it, and keeps the problem if there is one.
 *
 * @returns {{ run: (action: () => Promise<void>) => Promise<boolean>, busy: boolean, problem: Error | null, clear: () => void }}
 */
export function useAction() {
    const [state, setState] = useState({ busy: false, problem: null });
    const run = async (action) => {
        setState({ busy: true, problem: null });
        try {
            await action();
            setState({ busy: false, problem: null });
            return true;
        } catch (problem) {
            setState({ busy: false, problem });
            return false;
        }
    };
    return { ...state, run, clear: () => setState({ busy: false, problem: null }) };
}

/** Pauses a node that works, or lets a paused one work again. */
export function PauseButton({ node, onDone }) {
    const { run, busy, problem } = useAction();
    const press = async () => {
        if (await run(() => patch(`/api/nodes/${node.id}`, { paused: !node.paused }))) onDone();
    };
    const word = node.paused ? "Resume" : "Pause";
    return html`<${Button} busy=${busy} onClick=${press} aria-label=${`${word} ${node.name}`}>${word}<//>
        ${problem && html`<p class="error" role="alert">${problem.message}</p>`}`;
}
