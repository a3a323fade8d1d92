/** Where a node's joules went, as a picture and as figures. */
import { Badge, Card, Figure, Figures, Notice, Table, Tier } from "../components.js";
import { day, duration, joules, moment, percentage } from "../format.js";
import { html } from "../html.js";
import { microjoulesPerToken, parts, tierOf } from "./node-words.js";

const WIDTH = 1000;
const PARTS = [
    ["requests", "Requests"],
    ["idle", "Idle time"],
    ["foreign", "Other programs"],
];

/** One bar, divided: requests, idle time, other programs. Its words are in the list below it. */
export function EnergyBar({ sums, label }) {
    const found = parts(sums);
    if (found.total === 0n) return html`<p class="empty">Nothing was reported in this time.</p>`;
    const share = (part) => Number(found[part]) / Number(found.total);
    let from = 0;
    const pieces = PARTS.map(([part]) => {
        const piece = html`<rect class=${`part-${part}`} x=${from} width=${share(part) * WIDTH} height="28" />`;
        from += share(part) * WIDTH;
        return piece;
    });
    const told = PARTS.map(([part, name]) => `${name}: ${percentage(share(part))}`).join(", ");
    return html`<svg
            class="energy-bar"
            viewBox=${`0 0 ${WIDTH} 28`}
            preserveAspectRatio="none"
            role="img"
            aria-label=${`${label}. ${told}`}
        >
            ${pieces}
        </svg>
        <ul class="energy-legend">
            ${PARTS.map(
                ([part, name]) =>
                    html`<li>
                        <span class=${`swatch part-${part}`} aria-hidden="true"></span> ${name}:
                        <strong>${joules(found[part])}</strong> <span class="hint">${percentage(share(part))}</span>
                    </li>`,
            )}
        </ul>`;
}

/** The ledger of a node's energy: the last day, the days before, what its steps take, and what speaks against it. */
export function EnergyCard({ energy, tier }) {
    const { last_day: lastDay, costs, days, verdicts, believed } = energy;
    const perToken = microjoulesPerToken(costs);
    return html`<${Card} title="Energy" wide actions=${html`<${Tier} tier=${tierOf(energy, tier)} />`}>
        ${!believed &&
        html`<${Notice} kind="error" title="Not believed.">
            The gateway shows no figure of this node. What speaks against it is listed below.
        <//>`}
        <h3>The last 24 hours</h3>
        <${EnergyBar} sums=${lastDay} label="Energy of the last 24 hours" />
        <${Figures}>
            <${Figure} label="In all" value=${joules(lastDay.total_microjoules)} detail="requests + idle + other programs" />
            <${Figure} label="At work" value=${duration(lastDay.busy_microseconds)} />
            <${Figure}
                label="A token alone"
                value=${perToken === null ? "not known" : joules(perToken)}
                detail="its part of a step, and the step itself"
            />
            <${Figure} label="Idle" value=${costs ? `${(Number(costs.idle_milliwatts) / 1000).toFixed(1)} W` : "not known"} />
        <//>
        <${Days} days=${days} /> <${Verdicts} verdicts=${verdicts} />
    <//>`;
}

function Days({ days }) {
    if (days.length === 0) return html`<p class="hint">Days appear here when they are closed, an hour after midnight, UTC.</p>`;
    const columns = [
        { label: "Day", render: (row) => day(row.day) },
        { label: "Requests", numeric: true, render: (row) => joules(row.attributed_microjoules) },
        { label: "of these of other gateways", numeric: true, render: (row) => joules(row.elsewhere_microjoules) },
        { label: "Idle time", numeric: true, render: (row) => joules(row.idle_microjoules) },
        { label: "Other programs", numeric: true, render: (row) => joules(row.foreign_microjoules) },
        { label: "In all", numeric: true, render: (row) => joules(row.total_microjoules) },
    ];
    return html`<h3>Days that are closed</h3>
        <${Table} caption="Energy by day" columns=${columns} rows=${days} rowKey=${(row) => row.day} />`;
}

const SEVERITIES = { watch: ["plain", "noted"], lower: ["warning", "counts for less"], reject: ["bad", "not believed"] };

function Severity({ severity }) {
    const [kind, word] = SEVERITIES[severity] ?? ["plain", severity];
    return html`<${Badge} kind=${kind}>${word}<//>`;
}

function Verdicts({ verdicts }) {
    if (verdicts.length === 0) return html`<p class="hint">Nothing speaks against its figures.</p>`;
    const columns = [
        { label: "When", render: ({ at }) => moment(at) },
        { label: "So it", render: ({ severity }) => html`<${Severity} severity=${severity} />` },
        { label: "Why", render: ({ reason }) => reason },
    ];
    return html`<h3>What speaks against its figures</h3>
        <${Table} caption="Verdicts" columns=${columns} rows=${verdicts} rowKey=${({ at, kind }) => at + kind} />`;
}
