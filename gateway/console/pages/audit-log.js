/** What was done, and by whom: in one's own account, or in all of them for administrators. */
import { get, useLoaded, useTurning } from "../api.js";
import { Badge, Busy, Button, Card, Pager, Table, Trouble } from "../components.js";
import { moment } from "../format.js";
import { html } from "../html.js";
import { short } from "./request-names.js";

const ROWS = 50;
const ABOUT = "Whatever was to change something, done or refused. What was in it isn't kept, and nothing here can be taken out again.";

export function AuditLog({ all = false }) {
    const { before, steps } = useTurning();
    const load = (signal) => get("/api/audit-log", { all: all || null, before, limit: ROWS }, { signal });
    const { value, problem, loading, reload } = useLoaded(load, [before]);
    const refresh = html`<${Button} busy=${loading} onClick=${reload}>Refresh<//>`;
    return html`<${Card} title="Audit log" wide actions=${refresh}>
        <p class="hint">${ABOUT}</p>
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${value
            ? html`<${Acts} acts=${value.data} /><${Pager} ...${steps(value.next)} shown=${value.data.length} />`
            : !problem && html`<${Busy} />`}
    <//>`;
}

function Acts({ acts }) {
    const columns = [
        { label: "When", render: ({ at }) => moment(at, { seconds: true }) },
        { label: "Who", render: ({ user, email }) => (user ? (email ?? short(user)) : html`<span class="muted">command line</span>`) },
        { label: "What", render: ({ act }) => html`<code class="act">${act}</code>` },
        { label: "Outcome", render: ({ status }) => html`<${Outcome} status=${status} />` },
        { label: "From", render: ({ address }) => (address ? html`<code>${address}</code>` : "–") },
        { label: "With", render: ({ session, key }) => html`<${Means} session=${session} credential=${key} />` },
    ];
    return html`<${Table} caption="Acts, newest first" columns=${columns} rows=${acts} />`;
}

function Outcome({ status }) {
    if (status >= 500) return html`<${Badge} kind="bad">failed (${status})<//>`;
    if (status >= 400) return html`<${Badge} kind="warning">refused (${status})<//>`;
    // At the command line there is no status.
    return html`<${Badge} kind="good">done${status > 0 && ` (${status})`}<//>`;
}

function Means({ session, credential }) {
    const id = session ?? credential;
    if (!id) return "–";
    return html`${session ? "session" : "key"} <code title=${id}>${short(id)}</code>`;
}
