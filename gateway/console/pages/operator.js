/** For whoever runs nodes: how one joins, what they do, what they earn. */
import { get, post, useLoaded } from "../api.js";
import { Badge, Busy, Button, Card, Copy, Field, Figure, Figures, Heading, Notice, Table, Trouble } from "../components.js";
import { Chart } from "../chart.js";
import { count, credits, day, figure, joules, moment, roundCredits } from "../format.js";
import { html, useMemo, useState } from "../html.js";
import { useAction } from "./node-actions.js";
import { usePolling } from "./node-polling.js";
import { state } from "./node-words.js";
import { bareLine, dockerLine, wrong } from "./operator-commands.js";
import { drawn, earnings, perKilowattHour } from "./operator-earnings.js";
import { Ledger } from "./operator-ledger.js";
import { Payouts } from "./operator-payouts.js";
import { Statements } from "./operator-statements.js";

export const title = "Operate a node";

const FRESH_SECONDS = 5;
/** A month of lines takes some requests to read. */
const BOOKS_SECONDS = 120;
const DAY_SECONDS = 86_400;
/** Nodes that are asked for their work and their energy one by one. */
const MOST_NODES = 50;

export default function Operator({ me }) {
    return html`<div class="managing">
        <${Heading} title="Operate a node" about="Your machine computes, and earns for each token." />
        <${Join} /> <${Work} me=${me} /> <${Earnings} me=${me} /> <${Payouts} me=${me} /> <${Statements} me=${me} />
        <${Ledger} me=${me} />
    </div>`;
}

/** A token, shown once, in the lines that are ready to run. */
function Join() {
    const [made, setMade] = useState(null);
    const [settings, setSettings] = useState({ zone: "", price: "", keepsNothing: false });
    const { run, busy, problem } = useAction();
    const make = () => run(async () => setMade(await post("/api/enrolment-tokens")));
    return html`<${Card} title="Add a node" wide>
        <p>
            A node joins with a token that works once. It needs no open port and no certificate: it dials this gateway, from
            behind any router.
        </p>
        <${Settings} settings=${settings} onChange=${setSettings} />
        ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
        ${made && html`<${Lines} token=${made.token} expires=${made.expires_at} settings=${settings} />`}
        <p><${Button} kind=${made ? "" : "primary"} busy=${busy} onClick=${make}>${made ? "Make another token" : "Make a token"}<//></p>
    <//>`;
}

function Settings({ settings, onChange }) {
    const errors = wrong(settings);
    const type = (field, change = (text) => text) => (event) => onChange({ ...settings, [field]: change(event.currentTarget.value) });
    const tick = (event) => onChange({ ...settings, keepsNothing: event.currentTarget.checked });
    return html`<div class="row">
        <${Field}
            label="Zone of the grid"
            optional
            value=${settings.zone}
            onInput=${type("zone", (text) => text.trim().toUpperCase())}
            error=${errors.zone}
            hint="Where the machine stands, such as DE or US-CA: its carbon follows from it, and requests can ask for it."
        />
        <${Field}
            label="Price"
            optional
            value=${settings.price}
            onInput=${type("price", (text) => text.replace(/\s/g, ""))}
            error=${errors.price}
            hint="Nanocredits for a token: prompt, cached, answer. It can be changed at any time."
        />
        <label class="tick">
            <input type="checkbox" checked=${settings.keepsNothing} onChange=${tick} />
            My word: nothing on it keeps what it is sent
        </label>
    </div>`;
}

function Lines({ token, expires, settings }) {
    const errors = wrong(settings);
    const fitting = { ...settings, ...Object.fromEntries(Object.keys(errors).map((field) => [field, ""])) };
    const gateway = location.origin;
    return html`<div class="lines">
        <${Notice} kind="warning" title="The token is shown this once.">
            It works for one node, until ${moment(expires)}. Whoever has it can add a node to your account.
        <//>
        <h3>With Docker</h3>
        <${Copy} text=${dockerLine(gateway, token, fitting)} label="Copy the Docker line" multiline />
        <p class="hint">
            The image is built once, with <code>docker build -f docker/provider.Dockerfile -t commonwatt-node .</code>
            ${" "}and <code>docker logs node</code> says how the node fares.
        </p>
        <h3>Without Docker</h3>
        <${Copy} text=${bareLine(gateway, token, fitting)} label="Copy the line" multiline />
    </div>`;
}

/** What the nodes do at this moment, and why no work arrives. */
function Work({ me }) {
    const { value: nodes, problem, reload } = useLoaded(works);
    usePolling(reload, FRESH_SECONDS);
    const columns = [
        { label: "Node", render: ({ id, name }) => html`<a href=${`#/nodes/${id}`}>${name}</a>` },
        { label: "State", render: (node) => html`<${State} node=${node} />` },
        { label: "Runs", numeric: true, render: ({ work }) => `${count(work.running)} of ${count(work.slots)}` },
        { label: "Waits", numeric: true, render: ({ status }) => count(status?.waiting ?? 0) },
        { label: "Got", numeric: true, render: ({ work }) => count(work.chosen) },
        { label: "Passed over", numeric: true, render: ({ work }) => count(passedOver(work)) },
        { label: "Why no work", render: ({ work }) => work.advice[0] ?? "Work arrives as it should." },
    ];
    const empty = "No node has joined yet. Make a token above and run one of its lines.";
    return html`<${Card} title="What your nodes do now" wide>
        ${me.is_admin && html`<p class="hint">As an administrator you see every node, whoever runs it.</p>`}
        ${problem && html`<${Trouble} problem=${problem} retry=${reload} />`}
        ${nodes ? html`<${Table} caption="Live work" columns=${columns} rows=${nodes} empty=${empty} />` : !problem && html`<${Busy} />`}
    <//>`;
}

function State({ node }) {
    const { kind, word } = state(node);
    return html`<${Badge} kind=${kind}>${word}<//>`;
}

function passedOver({ skipped }) {
    return Object.values(skipped).reduce((all, times) => all + times, 0);
}

async function works(signal) {
    const { data } = await get("/api/nodes", null, { signal });
    return Promise.all(data.slice(0, MOST_NODES).map(({ id }) => get(`/api/nodes/${id}`, null, { signal })));
}

async function books(account, signal) {
    const nodes = await get("/api/nodes", null, { signal });
    const energy = ({ id }) => get(`/api/nodes/${id}/energy`, null, { signal });
    const [balance, earned, energies] = await Promise.all([
        get("/api/ledger/balance", null, { signal }),
        earnings(account, signal),
        Promise.all(nodes.data.slice(0, MOST_NODES).map(energy)),
    ]);
    return { balance, earned, drawn: drawn(energies) };
}

function Earnings({ me }) {
    const { value, problem, reload } = useLoaded((signal) => books(me.account, signal), [me.account]);
    usePolling(reload, BOOKS_SECONDS);
    if (!value) {
        return html`<${Card} title="Earnings" wide>
            ${problem ? html`<${Trouble} problem=${problem} retry=${reload} />` : html`<${Busy} />`}
        <//>`;
    }
    return html`<${Card} title="Earnings" wide><${Books} books=${value} isAdmin=${me.is_admin} /><//>`;
}

function Books({ books: { balance, earned, drawn: energy }, isAdmin }) {
    const ofLastDay = perKilowattHour(earned.lastDay, energy.lastDay);
    return html`<div class="exact">
            <${Figures}>
                <${Figure} label="Earned, and not paid out" value=${credits(balance.earned.nanocredits)} unit="credits" />
                <${Figure} label="In the last 24 hours" value=${credits(earned.lastDay)} unit="credits" />
                <${Figure} label="Drawn in the last 24 hours" value=${joules(energy.lastDay)} detail="with idle time and other programs" />
                <${Figure}
                    label="For a kilowatt-hour"
                    value=${ofLastDay === null ? "not known" : roundCredits(Math.round(ofLastDay))}
                    unit=${ofLastDay === null ? "" : "credits"}
                    detail="of all that was drawn, in the last 24 hours"
                />
            <//>
        </div>
        ${isAdmin &&
        html`<${Notice} kind="info">
            As an administrator you see every node. If others run some of them, their joules are counted here too, and the
            figure for a kilowatt-hour is too low.
        <//>`}
        ${!earned.complete &&
        html`<${Notice} kind="warning">
            There are more lines than were read: only the newest days are whole. <code>/api/ledger</code> has them all.
        <//>`}
        <${Days} earned=${earned} energy=${energy} />`;
}

function Days({ earned, energy }) {
    const times = useMemo(() => earned.days.map(({ day: date }) => Date.parse(date) / 1000), [earned]);
    const series = useMemo(() => [{ label: "Credits earned", values: earned.days.map((each) => each.earned) }], [earned]);
    const columns = [
        { label: "Day (UTC)", render: (row) => day(row.day) },
        { label: "Credits", numeric: true, render: (row) => credits(row.earned) },
        { label: "Requests", numeric: true, render: ({ requests }) => count(requests) },
        { label: "Drawn", numeric: true, render: (row) => (energy.days.has(row.day) ? joules(energy.days.get(row.day)) : "–") },
        { label: "Credits for a kWh", numeric: true, render: (row) => rate(row, energy) },
        { label: "Paid out", numeric: true, render: ({ paidOut }) => credits(paidOut) },
    ];
    const known = earned.days.filter((row) => row.requests > 0 || row.paidOut > 0n || energy.days.has(row.day)).reverse();
    return html`<h3>By day</h3>
        <${Chart}
            title="Credits earned by day"
            times=${times}
            series=${series}
            format=${roundCredits}
            kind="bars"
            bucket=${DAY_SECONDS}
            moment=${(time) => new Date(time * 1000).toISOString().slice(0, 10)}
        />
        <${Table} caption="Earnings by day" columns=${columns} rows=${known} rowKey=${(row) => row.day} empty="Nothing was earned yet." />
        <p class="hint">
            A day's joules are known once the day is closed, an hour after midnight, UTC. Which of several nodes earned a line is
            not in the ledger.
        </p>`;
}

function rate(row, energy) {
    const found = perKilowattHour(row.earned, energy.days.get(row.day));
    return found === null ? "–" : figure(found / 1e9);
}
