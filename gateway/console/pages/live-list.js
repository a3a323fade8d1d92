/** The live view in words and figures: for those who want no motion, and for those who don't see the picture. */
import { Table, Tier } from "../components.js";
import { count, duration, joules } from "../format.js";
import { html } from "../html.js";
import { place } from "./node-words.js";

export function NodeList({ nodes, name }) {
    const columns = [
        { label: "Node", render: ({ node }) => name(node) },
        { label: "Region", render: ({ region }) => place(region) },
        { label: "Runs", numeric: true, render: ({ running }) => count(running) },
        { label: "Ended", numeric: true, render: ({ ended }) => count(ended) },
        { label: "Tokens", numeric: true, render: ({ tokens }) => count(tokens) },
        { label: "Energy", numeric: true, render: ({ microjoules }) => joules(microjoules) },
        { label: "Known", render: ({ tier }) => html`<${Tier} tier=${tier} />` },
    ];
    const empty = "No node is connected.";
    return html`<${Table} caption="Nodes, since this page was opened" columns=${columns} rows=${nodes} rowKey=${({ node }) => node} empty=${empty} />`;
}

export function RecentList({ recent, name }) {
    const columns = [
        { label: "Model", render: ({ model }) => html`<code>${model}</code>` },
        { label: "Node", render: ({ node }) => name(node) },
        { label: "Tokens", numeric: true, render: ({ tokens }) => count(tokens) },
        { label: "Time", numeric: true, render: ({ milliseconds }) => duration(milliseconds * 1000) },
        { label: "Energy", numeric: true, render: (ended) => html`<${Energy} ended=${ended} />` },
        { label: "Ended", render: ({ outcome }) => outcome.replaceAll("_", " ") },
    ];
    const empty = "Nothing has ended since this page was opened.";
    return html`<${Table} caption="What ended last" columns=${columns} rows=${recent} rowKey=${({ attempt }) => attempt} empty=${empty} />`;
}

function Energy({ ended: { microjoules, tier } }) {
    return html`${microjoules === null ? "not known" : joules(microjoules)} <${Tier} tier=${tier} />`;
}

/** The last moments in a sentence. */
export function spoken(figures) {
    if (!figures) return "Waiting for the first figures.";
    const { nodes, running, tokensPerSecond, watts, attempts } = figures;
    const rates = `${count(Math.round(tokensPerSecond))} tokens and ${watts.toFixed(1)} joules a second`;
    return `${count(nodes)} nodes connected, ${count(running)} requests under way, ${rates}; ${count(attempts)} attempts since the gateway started.`;
}
