/** What one's nodes, and what one is the author of, have earned by epoch. */
import { get, useLoaded, useTurning } from "../api.js";
import { Busy, Card, Pager, Trouble } from "../components.js";
import { html } from "../html.js";
import { StatementList } from "./statement-list.js";

const EPOCHS = 12;
const ABOUT = "The log is closed from time to time. Its receipts up to then are an epoch, and of each there is a statement, which is in the log itself.";
const EMPTY = "There is none yet: the first one comes when the running epoch is closed.";

export function Statements({ me }) {
    const { before, steps } = useTurning();
    const load = (signal) => get("/api/statements", { before, limit: EPOCHS }, { signal });
    const { value, problem, reload } = useLoaded(load, [before]);
    return html`<${Card} title="Statements" wide>
        <p class="hint">${ABOUT}</p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${StatementList} statements=${value.data} me=${me} empty=${EMPTY} />
                  <${Pager} ...${steps(value.next)} shown=${value.data.length} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}
