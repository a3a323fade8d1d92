/** One node: why it gets work or none, what it sells, where its joules went, and what its operator can do about it. */
import { get, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Copy, Figure, Figures, Heading, Notice, Table, Trouble } from "../components.js";
import { ago, count, duration, percentage } from "../format.js";
import { html, useState } from "../html.js";
import { PauseButton } from "./node-actions.js";
import { EnergyCard } from "./node-energy.js";
import { MaintenanceCard } from "./node-maintenance.js";
import { usePolling } from "./node-polling.js";
import { PricesCard } from "./node-prices.js";
import { RemoveDialog, RenameDialog } from "./node-dialogs.js";
import { place, reasons, state } from "./node-words.js";

const FRESH_SECONDS = 5;

export function Node({ id, navigate }) {
    const { value: node, problem, reload } = useLoaded((signal) => get(`/api/nodes/${encodeURIComponent(id)}`, null, { signal }), [id]);
    usePolling(reload, FRESH_SECONDS);
    if (!node) {
        return html`<${Heading} title="Node" />
            ${problem ? html`<${Trouble} problem=${problem} retry=${reload} />` : html`<${Busy} />`}
            <p><a href="#/nodes">All nodes</a></p>`;
    }
    return html`<${Top} node=${node} reload=${reload} navigate=${navigate} />
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        <${WorkCard} node=${node} /> <${PricesCard} node=${node} /> <${Energy} node=${node} />
        <${MaintenanceCard} node=${node} onDone=${reload} /> <${MachineCard} node=${node} />`;
}

function Top({ node, reload, navigate }) {
    const [asked, setAsked] = useState(null);
    const { kind, word } = state(node);
    const close = () => setAsked(null);
    return html`<p class="back"><a href="#/nodes">← All nodes</a></p>
        <${Heading} title=${node.name} about=${html`<${Badge} kind=${kind}>${word}<//> ${place(node.offer?.region)}`}>
            <${PauseButton} node=${node} onDone=${reload} />
            <${Button} onClick=${() => setAsked("rename")}>Rename<//>
            <${Button} kind="danger" onClick=${() => setAsked("remove")}>Remove<//>
        <//>
        ${asked === "rename" && html`<${RenameDialog} node=${node} onClose=${close} onDone=${reload} />`}
        ${asked === "remove" && html`<${RemoveDialog} node=${node} onClose=${close} onDone=${() => navigate("nodes")} />`}`;
}

/** Why it gets work or none. */
function WorkCard({ node: { work, status, ways, connected, last_seen_at: lastSeen } }) {
    return html`<${Card} title="Work" wide>
        <${Advice} work=${work} />
        <${Figures}>
            <${Figure} label="Requests that it got" value=${count(work.chosen)} detail="since this replica saw it connect" />
            <${Figure} label="Runs now" value=${`${count(work.running)} of ${count(work.slots)}`} detail=${waiting(status)} />
            <${Figure} label="Speed" value=${work.tokens_per_second ?? "–"} unit="tokens/s" detail="of one answer" />
            <${Figure} label="First byte" value=${work.first_byte_microseconds ? duration(work.first_byte_microseconds) : "–"} detail="usually" />
            <${Figure}
                label="Honest counts"
                value=${work.honesty_ppm === null ? "–" : percentage(work.honesty_ppm / 1e6)}
                detail="tokens claimed against tokens streamed"
            />
            <${Figure}
                label="Reached by"
                value=${ways.join(", ") || "nothing"}
                detail=${connected ? "" : html`last seen ${ago(lastSeen)}`}
            />
        <//>
        <${Skipped} work=${work} />
    <//>`;
}

function waiting(status) {
    return status?.waiting > 0 ? `${count(status.waiting)} wait` : "nobody waits";
}

function Advice({ work: { advice } }) {
    if (advice.length === 0) return html`<${Notice} kind="good">Work arrives as it should.<//>`;
    return html`<${Notice} kind="warning" title="What can be done to get work, the most effective first:">
        <ol>
            ${advice.map((sentence) => html`<li>${sentence}</li>`)}
        </ol>
    <//>`;
}

const BAR = 100;

function Skipped({ work: { skipped, chosen } }) {
    const rows = reasons(skipped);
    if (rows.length === 0) return html`<p class="hint">It was passed over for no request.</p>`;
    const most = Math.max(chosen, ...rows.map(({ times }) => times));
    const bar = ({ times }) => html`<svg class="compared" viewBox=${`0 0 ${BAR} 8`} preserveAspectRatio="none" aria-hidden="true">
        <rect width=${(times / most) * BAR} height="8" />
    </svg>`;
    const columns = [
        { label: "Why another got the request", key: "text" },
        { label: "How often", numeric: true, render: ({ times }) => count(times) },
        { label: "Compared", render: bar },
    ];
    return html`<h3>Why it was passed over</h3>
        <${Table} caption="Reasons and counts" columns=${columns} rows=${rows} rowKey=${({ reason }) => reason} />`;
}

function Energy({ node: { id, offer } }) {
    const { value, problem, reload } = useLoaded((signal) => get(`/api/nodes/${id}/energy`, null, { signal }), [id]);
    usePolling(reload, FRESH_SECONDS);
    if (!value) return problem ? html`<${Trouble} problem=${problem} retry=${reload} />` : html`<${Busy} />`;
    return html`<${EnergyCard} energy=${value} tier=${offer?.energy.tier} />`;
}

function MachineCard({ node: { id, offer, created_at: created } }) {
    const energy = offer?.energy;
    const told = [
        ["Program", offer && `commonwatt-node ${offer.version}`],
        ["Processor", energy?.processor && `${energy.processor}, ${count(energy.processors)} threads`],
        ["Accelerators", energy?.accelerators.join(", ")],
        ["Grid", energy?.zone],
        ["Site's overhead (PUE)", energy && String(energy.pue_milli / 1000)],
        ["What its figures include", energy?.boundary],
        ["Idle energy", energy?.idle_policy === "opportunistic" ? "its owner's" : energy && "shared by its requests"],
        ["Keeps what it is sent", offer && (offer.denies_data_collection ? "no, says its operator" : "not said")],
        ["Places to wait", offer && count(offer.queue)],
        ["Joined", ago(created)],
    ];
    return html`<${Card} title="The machine, as its operator describes it" wide>
        <dl class="facts">
            ${told.map(([word, value]) => html`<div><dt>${word}</dt><dd>${value || "not known"}</dd></div>`)}
        </dl>
        <${Copy} text=${id} label="Copy the id" />
    <//>`;
}
