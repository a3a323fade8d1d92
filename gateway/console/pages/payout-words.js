/** How payouts stand. */
import { Badge } from "../components.js";
import { html } from "../html.js";

const STATES = {
    due: ["plain", "due"],
    held: ["warning", "held"],
    paid: ["good", "paid"],
    cancelled: ["bad", "cancelled"],
};

/** What a list can be narrowed to. */
export const WHICH = [
    ["", "All"],
    ["due", "Due"],
    ["held", "Held"],
    ["paid", "Paid"],
    ["cancelled", "Cancelled"],
];

/** A payout's state and what is said of it. */
export function Standing({ payout: { state, reason, reference } }) {
    const [kind, word] = STATES[state] ?? ["plain", state];
    const more = { held: reason, cancelled: reason, paid: reference }[state];
    return html`<${Badge} kind=${kind}>${word}<//>${more && html` <span class="hint">${more}</span>`}`;
}
