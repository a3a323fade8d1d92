/** How a request ends, in words. Source: the README, "How a request ends". */
import { Badge } from "../components.js";
import { html } from "../html.js";

export const OUTCOMES = {
    completed: { label: "Completed", kind: "good", meaning: "The answer was delivered to its end." },
    cut_short: {
        label: "Cut short",
        kind: "warning",
        meaning: "Credit or a limit ran out while the answer grew. What was delivered is paid.",
    },
    cancelled: { label: "Cancelled", kind: "plain", meaning: "Its account ended it. What was delivered is paid." },
    client_left: {
        label: "Client left",
        kind: "plain",
        meaning: "The client closed the connection. What was delivered is paid.",
    },
    key_revoked: {
        label: "Key revoked",
        kind: "warning",
        meaning: "Its key was revoked while it ran. What was delivered is paid.",
    },
    refused: { label: "Refused", kind: "warning", meaning: "The node found the request wrong. It costs nothing." },
    no_node: { label: "No node", kind: "bad", meaning: "No node could take it. It costs nothing." },
    node_failed: {
        label: "Node failed",
        kind: "bad",
        meaning: "The node failed and no other could take over. It costs nothing.",
    },
    gateway_failed: {
        label: "Gateway failed",
        kind: "bad",
        meaning: "The gateway died while it ran. It costs nothing.",
    },
    outdone: { label: "Outdone", kind: "plain", meaning: "Another node was asked at the same time, and was first." },
};

export function Outcome({ word }) {
    const { label, kind, meaning } = OUTCOMES[word] ?? { label: word, kind: "plain", meaning: "" };
    return html`<span title=${meaning}><${Badge} kind=${kind}>${label}<//></span>`;
}
