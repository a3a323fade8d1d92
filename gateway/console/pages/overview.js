/** What the account used and what that took, over time. */
import { get, useLoaded } from "../api.js";
import { Chart } from "../chart.js";
import { Busy, Card, Choice, Copy, Figure, Figures, Heading, Notice, Table, Trouble } from "../components.js";
import { count, credits, grams, joules, percentage, roundCount, roundCredits } from "../format.js";
import { html, useEffect, useMemo } from "../html.js";
import { address } from "../router.js";
import { GROUPINGS, RANGES, loadUsage } from "./overview-usage.js";

export const title = "Overview";

const RENEWED_AFTER = 30_000;
const MEASURES = [
    { name: "tokens", label: "Tokens", format: roundCount },
    { name: "requests", label: "Requests", format: roundCount },
    { name: "cost", label: "Cost in credits", format: roundCredits },
    { name: "energy", label: "Energy", format: joules },
    { name: "carbon", label: "Carbon (CO₂e)", format: grams },
];

export default function Overview({ parameters, navigate }) {
    const range = Object.hasOwn(RANGES, parameters.range) ? parameters.range : "7d";
    const by = Object.hasOwn(GROUPINGS, parameters.by) ? parameters.by : "model";
    const choose = (change) => navigate("overview", { ...parameters, ...change });
    const usage = useLoaded((signal) => loadUsage({ range, by }, signal), [range, by]);
    const names = useLoaded((signal) => loadNames(signal), []);
    const balance = useLoaded((signal) => get("/api/ledger/balance", {}, { signal }), []);
    useRenewed(() => [usage, balance].forEach(({ reload }) => reload()));
    return html`<${Heading} title=${title} about="Requests of this account, with what they cost in credits, energy and carbon.">
            <${Choice}
                label="Range"
                value=${range}
                options=${Object.entries(RANGES).map(([value, { short, text }]) => [value, short, text])}
                onChange=${(range) => choose({ range })}
            />
        <//>
        ${usage.problem && html`<${Trouble} problem=${usage.problem} retry=${usage.reload} />`}
        ${!usage.value && usage.loading && html`<${Busy} />`}
        ${usage.value && html`<${Totals} usage=${usage.value} balance=${balance.value} words=${RANGES[range].words} />`}
        ${usage.value && html`<${Details} usage=${usage.value} names=${names.value} ...${{ range, by, choose }} />`}`;
}

/** Loads again from time to time, while somebody can see it. */
function useRenewed(renew) {
    useEffect(() => {
        const timer = setInterval(() => document.hidden || renew(), RENEWED_AFTER);
        return () => clearInterval(timer);
    }, []);
}

/** What keys and nodes are called, by their ids. */
async function loadNames(signal) {
    const lists = await Promise.all(["/api/keys", "/api/nodes"].map((path) => get(path, {}, { signal })));
    return new Map(lists.flatMap(({ data }) => data.map(({ id, name }) => [id, name])));
}

function Totals({ usage: { total, before }, balance, words }) {
    const compared = (name) => html`<${Change} now=${total[name]} before=${before[name]} words=${words} />`;
    const perToken = total.tokens > 0n && joules(Number(total.energy) / Number(total.tokens));
    return html`<${Figures}>
        <${Figure} label="Requests" value=${roundCount(total.requests)} title=${count(total.requests)} detail=${compared("requests")} />
        <${Figure}
            label="Tokens"
            value=${roundCount(total.tokens)}
            title=${`${count(total.prompt)} of prompts, ${count(total.completion)} of answers`}
            detail=${`${roundCount(total.prompt)} in, ${roundCount(total.completion)} out`}
        />
        <${Figure}
            label="Cost"
            value=${roundCredits(total.cost)}
            unit="credits"
            title=${`${credits(total.cost)} credits`}
            detail=${compared("cost")}
        />
        <${Figure} label="Energy" value=${joules(total.energy)} detail=${perToken ? `${perToken} a token` : ""} />
        <${Figure}
            label="Carbon (CO₂e)"
            value=${grams(total.carbon)}
            detail=${total.carbon === 0n && total.energy > 0n ? "no node says where it stands" : "where nodes tell their region"}
        />
        ${
            balance &&
            html`<${Figure}
            label="Balance"
            value=${roundCredits(balance.balance.nanocredits)}
            unit="credits"
            title=${`${credits(balance.balance.nanocredits)} credits`}
            detail=${balance.earned.nanocredits > 0 ? `earned ${roundCredits(balance.earned.nanocredits)}` : ""}
        />`
        }
    <//>`;
}

function Change({ now, before, words }) {
    if (before === 0n) return null;
    const share = Number(now - before) / Number(before);
    return html`<span title=${`against ${words}`}>${share >= 0 ? "+" : "−"}${percentage(Math.abs(share))} on ${words}</span>`;
}

function Details({ usage, names, range, by, choose }) {
    if (usage.total.requests === 0n) return html`<${Nothing} range=${range} />`;
    const named = (id) => nameOf(id, by, names);
    const shown = MEASURES.filter(({ name }) => name !== "carbon" || usage.total.carbon > 0n);
    return html`<div class="filters">
            <${Choice}
                label="Told apart by"
                value=${by}
                options=${Object.entries(GROUPINGS).map(([value, text]) => [value, `By ${text.toLowerCase()}`])}
                onChange=${(by) => choose({ by })}
            />
        </div>
        ${
            !usage.complete &&
            html`<${Notice} kind="warning">There is more than the charts can hold: the latest part is missing. Choose a shorter range.<//>`
        }
        <div class="cards">
            ${shown.map(
                (measure, index) =>
                    html`<${Measure} key=${measure.name} ...${{ measure, usage, named, range }} wide=${index === 0 && shown.length % 2} />`,
            )}
            <${Shares} ...${{ usage, named, by }} />
        </div>`;
}

function Measure({ measure: { name, label, format }, usage: { times, groups }, named, range, wide }) {
    const { step, bucket } = RANGES[range];
    const labels = groups.map(({ id }) => named(id)).join("\n");
    const series = useMemo(
        () => groups.map(({ id, values }) => ({ label: named(id), values: values[name] })),
        [groups, labels, name],
    );
    const utc = step >= 86_400;
    const moment = useMemo(() => told(bucket), [bucket]);
    return html`<${Card} title=${label} wide=${wide}>
        <${Chart}
            title=${`${label} over time`}
            kind="bars"
            sync="overview"
            bucket=${step}
            height=${180}
            ...${{ times, series, format, moment, utc }}
        />
    <//>`;
}

/** How a bucket is called. */
function told(bucket) {
    const options = {
        month: { month: "long", year: "numeric", timeZone: "UTC" },
        day: { dateStyle: "medium", timeZone: "UTC" },
    }[bucket] ?? { dateStyle: "medium", timeStyle: "short" };
    const format = new Intl.DateTimeFormat("en-GB", options);
    return (time) => format.format(time * 1000);
}

function Shares({ usage: { groups, total }, named, by }) {
    const columns = [
        { label: GROUPINGS[by], render: ({ id }) => html`<${Group} id=${id} by=${by} name=${named(id)} />` },
        { label: "Requests", numeric: true, render: ({ total }) => count(total.requests) },
        { label: "Tokens", numeric: true, render: ({ total }) => count(total.tokens) },
        {
            label: "Share",
            numeric: true,
            render: (row) => (total.tokens ? percentage(Number(row.total.tokens) / Number(total.tokens)) : "–"),
        },
        { label: "Cost in credits", numeric: true, render: ({ total }) => credits(total.cost) },
        { label: "Energy", numeric: true, render: ({ total }) => joules(total.energy) },
        {
            label: "A token",
            numeric: true,
            render: ({ total }) => (total.tokens ? joules(Number(total.energy) / Number(total.tokens)) : "–"),
        },
        { label: "CO₂e", numeric: true, render: ({ total }) => grams(total.carbon) },
    ];
    const heading = `By ${GROUPINGS[by].toLowerCase()}`;
    return html`<${Card} title=${heading} wide=${true}>
        <${Table} caption=${heading} columns=${columns} rows=${groups} rowKey=${({ id }) => String(id)} />
    <//>`;
}

/** A group's name, which leads to its requests. */
function Group({ id, by, name }) {
    return id ? html`<a href=${address("requests", { [by]: id })}>${name}</a>` : name;
}

function nameOf(id, by, names) {
    if (id === undefined) return "Others";
    if (id === null) return by === "node" ? "No node" : "None";
    if (by === "model") return id;
    return names?.get(id) ?? `${by} …${id.slice(-8)}`;
}

function Nothing({ range }) {
    const base = `${location.origin}/v1`;
    const command = `curl ${base}/chat/completions \\
  -H 'Authorization: Bearer sk-cw-…' -H 'Content-Type: application/json' \\
  -d '{"model":"smollm2-135m-instruct","messages":[{"role":"user","content":"Why is the sky blue?"}]}'`;
    return html`<${Card} title=${`No requests in ${range === "1h" ? "this hour" : `these ${RANGES[range].text}`}`}>
        <div class="form">
            <p>
                Try a model in the <a href="#/playground">playground</a>, or make a <a href="#/keys">key</a> and point any SDK
                of OpenAI at this gateway:
            </p>
            <${Copy} text=${base} label="Copy the base URL" />
            <${Copy} text=${command} label="Copy the command" multiline=${true} />
        </div>
    <//>`;
}
