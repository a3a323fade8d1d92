/** What administrators set for everybody. */
import { Choice, Heading } from "../components.js";
import { html } from "../html.js";
import { Accounts } from "./administration-accounts.js";
import { Aliases } from "./administration-aliases.js";
import { Attached } from "./administration-attached.js";
import { Authors } from "./administration-authors.js";
import { AuditLog } from "./audit-log.js";
import { Credits } from "./administration-credits.js";
import { Limits } from "./administration-limits.js";
import { Partners } from "./administration-partners.js";
import { Payouts } from "./administration-payouts.js";
import { Prices } from "./administration-prices.js";
import { Splits } from "./administration-splits.js";
import { wrongId } from "./administration-subject.js";

export const title = "Administration";

/** Acts of everybody. */
const AllActs = () => html`<${AuditLog} all />`;

const PARTS = {
    accounts: ["Accounts", Accounts],
    credits: ["Credits", Credits],
    limits: ["Limits", Limits],
    aliases: ["Aliases", Aliases],
    prices: ["Prices", Prices],
    splits: ["Shares", Splits],
    payouts: ["Payouts", Payouts],
    authors: ["Authors", Authors],
    attached: ["Attached servers", Attached],
    partners: ["Partners", Partners],
    audit: ["Audit log", AllActs],
};

export default function Administration({ me, parameters, navigate }) {
    // It comes to stand in paths of the API.
    const account = wrongId(parameters.account ?? "") ? undefined : parameters.account.toLowerCase();
    const part = Object.hasOwn(PARTS, parameters.part) ? parameters.part : "accounts";
    const [, Part] = PARTS[part];
    const options = Object.entries(PARTS).map(([name, [text]]) => [name, text]);
    const choose = (name) => navigate("administration", { part: name });
    return html`<div class="managing">
            <${Heading} title="Administration" about="What you set here counts for everybody, at once." />
            <div class="filters"><${Choice} label="What to set" value=${part} options=${options} onChange=${choose} /></div>
            <${Part} key=${`${part} ${account}`} me=${me} account=${account} />
        </div>`;
}
