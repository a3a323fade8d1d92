/** What the federation did from epoch to epoch. */
import { Chart } from "../chart.js";
import { Choice } from "../components.js";
import { grams, joules, roundCount, roundCredits, sum } from "../format.js";
import { html, useMemo, useState } from "../html.js";

const SHOWN = {
    income: ["Credits paid by customers", ({ income }) => income, roundCredits],
    paid: ["Credits paid out", ({ paid_out: paid }) => paid, roundCredits],
    tokens: ["Tokens", ({ prompt_tokens: prompt, completion_tokens: completion }) => sum([prompt, completion]), roundCount],
    energy: ["Energy", ({ microjoules }) => microjoules, joules],
    carbon: ["CO₂e", ({ micrograms_co2e: micrograms }) => micrograms, grams],
};

/** @param {{ epochs: object[] }} chart Newest first. */
export function EpochChart({ epochs }) {
    const [shown, setShown] = useState("income");
    const [label, of, format] = SHOWN[shown];
    const inTime = useMemo(() => epochs.toReversed(), [epochs]);
    const times = useMemo(() => inTime.map(({ ended_at: at }) => at), [inTime]);
    const series = useMemo(() => [{ label, values: inTime.map(({ totals }) => of(totals)) }], [inTime, shown]);
    const options = Object.entries(SHOWN).map(([name, [text]]) => [name, text]);
    return html`<div class="filters"><${Choice} label="What to show" value=${shown} options=${options} onChange=${setShown} /></div>
        <${Chart} title=${`${label}, by epoch`} times=${times} series=${series} format=${format} />`;
}
