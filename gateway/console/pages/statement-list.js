/** Statements by epoch, each with a link to the whole. */
import { Table } from "../components.js";
import { count, credits, moment } from "../format.js";
import { html } from "../html.js";
import { address } from "../router.js";
import { partyInWords } from "./statement-words.js";

/** @param {{ statements: object[], me: object, empty: string, ofOneEpoch?: boolean }} list */
export function StatementList({ statements, me, empty, ofOneEpoch = false }) {
    const amount = (of) => (statement) => credits(statement[of].nanocredits);
    const whole = (text) => (statement) => html`<${Whole} statement=${statement} me=${me}>${text(statement)}<//>`;
    const words = ({ party }) => partyInWords(party, me);
    const which = [
        { label: "Epoch", render: whole(({ epoch }) => epoch) },
        { label: "Until", render: ({ ended_at: at }) => moment(at) },
        { label: "Of", render: (statement) => html`<span title=${statement.party}>${words(statement)}</span>` },
    ];
    const columns = [
        ...(ofOneEpoch ? [{ label: "Of", render: whole(words) }] : which),
        { label: "Owed before", numeric: true, render: amount("opening") },
        { label: "Earned", numeric: true, render: amount("earned") },
        { label: "Moved", numeric: true, render: amount("moved") },
        { label: "Owed after", numeric: true, render: amount("closing") },
        { label: "Receipts", numeric: true, render: ({ receipts }) => count(receipts) },
    ];
    const key = ({ epoch, party }) => `${epoch} ${party}`;
    return html`<${Table} caption="Statements" columns=${columns} rows=${statements} rowKey=${key} empty=${empty} />`;
}

function Whole({ statement: { epoch, party }, me, children }) {
    const name = `Statement of epoch ${epoch}: ${partyInWords(party, me)}`;
    return html`<a href=${address("statement", { id: epoch, party })} title=${party} aria-label=${name}>${children}</a>`;
}
