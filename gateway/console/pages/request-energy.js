/** What a request took in energy, how well that is known, and what it means in carbon. */
import { Figure, Figures, Tier } from "../components.js";
import { figure, grams, joules } from "../format.js";
import { html } from "../html.js";
import { Lanes } from "./request-lanes.js";
import { short } from "./request-names.js";

const STATES = {
    provisional:
        "A part of it is still predicted: the node’s counter has not been read yet. This page looks again by itself.",
    settled: "No part of it is predicted any more. The share of idle time is final once the node’s day is closed.",
    final: "The node’s day is closed; nothing changes any more.",
    unverified: "The gateway does not believe the node, so no figure is shown.",
};

const TIERS = {
    A: "Tier A: counters of the components, scaled by a meter at the wall with which they agree.",
    B: "Tier B: counters of all material components.",
    C: "Tier C: the accelerator’s counter; the rest is estimated.",
    D: "Tier D: a power gauge, or costs that were learned before.",
    E: "Tier E: nothing was measured. Processor time and rated power, right within a factor of 2.5.",
    X: "Tier X: not believed.",
};

const OTHERS = " Figures are of the try whose answer was delivered; what other tries took is shown beside it.";

const BOUNDARIES = {
    device: "the processor or accelerator alone",
    "node-dc": "the whole machine behind its power supply",
    wall: "the machine at the wall plug",
    facility: "the machine at the wall plug, with its site’s overhead",
};

/** True while a later look may show another figure soon. */
export function isProvisional(attempts) {
    return attempts.some(({ energy }) => energy.status === "provisional");
}

/** @param {{ attempts: object[], names: Map<string, string> }} properties `attempts` as the gateway tells their energy. */
export function Energy({ attempts, names }) {
    if (attempts.length === 0) return html`<p class="empty">No node computed anything for it.</p>`;
    const told = attempts.find(({ delivered }) => delivered) ?? attempts.at(-1);
    return html`<${Picture} attempts=${attempts} names=${names} />
        <${Amounts} energy=${told.energy} sci=${told.sci} />
        <p>${TIERS[told.energy.tier]} ${STATES[told.energy.status]}</p>
        <p class="hint">
            It counts ${BOUNDARIES[told.energy.boundary] ?? told.energy.boundary}, attributed by ${told.energy.method}.
            ${attempts.length > 1 && OTHERS}
        </p>`;
}

function Picture({ attempts, names }) {
    const shown = attempts.filter(({ energy }) => energy.joules !== undefined);
    const ends = shown.map(({ energy }) => Math.max(energy.joules, energy.interval_90?.[1] ?? 0));
    if (shown.length === 0) return null;
    const lanes = shown.map(({ attempt, node, energy }) => ({
        label: `Try ${attempt}: ${names.get(node) ?? short(node)}`,
        value: html`${amount(energy.joules)} <${Tier} tier=${energy.tier} />`,
        title: inWords(energy),
        bars: [
            { kind: "prompt", from: 0, to: energy.prefill_joules },
            { kind: "answer", from: energy.prefill_joules, to: energy.joules },
        ].filter(({ from, to }) => to > from),
        interval: energy.interval_90,
    }));
    return html`<${Lanes} lanes=${lanes} end=${Math.max(...ends)} scale=${amount} />
        <ul class="request-legend">
            <li><span class="swatch request-prompt"></span>Prompt</li>
            <li><span class="swatch request-answer"></span>Answer</li>
            <li><span class="request-whisker"></span>The truth lies in here 9 times in 10</li>
        </ul>`;
}

function inWords({ joules: total, prefill_joules: prompt, decode_joules: answer, interval_90: interval }) {
    const between = interval ? `, 9 times in 10 between ${amount(interval[0])} and ${amount(interval[1])}` : "";
    return `${amount(total)}: ${amount(prompt)} for the prompt and ${amount(answer)} for the answer${between}`;
}

function Amounts({ energy, sci }) {
    if (energy.joules === undefined) return null;
    const { interval_90: interval } = energy;
    return html`<div class="request-figures"><${Figures}>
        <${Figure}
            label="Energy"
            value=${amount(energy.joules)}
            detail=${interval && `${amount(interval[0])} to ${amount(interval[1])}`}
        />
        <${Figure} label="Prompt" value=${amount(energy.prefill_joules)} detail="reading it" />
        <${Figure} label="Answer" value=${amount(energy.decode_joules)} detail="writing it" />
        <${Figure} label="Caused by it" value=${amount(energy.marginal_joules)} detail="without what others shared" />
        <${Figure} label="Idle share" value=${amount(energy.idle_share_joules)} detail="of the node’s waiting" />
        <${Figure} label="At the site" value=${amount(energy.facility_joules)} detail=${`PUE ${figure(energy.pue)}`} />
        <${Carbon} energy=${energy} sci=${sci} />
    <//></div>`;
}

function Carbon({ energy, sci }) {
    const { g_co2e: carbon, grid_g_per_kwh: intensity, grid_zone: zone, grid_source: source, embodied_g: embodied } = energy;
    if (carbon === undefined) return html`<${Figure} label="Carbon" value="–" detail="the node names no place" />`;
    return html`<${Figure}
            label="Carbon"
            value=${grams(carbon * 1e6)}
            unit="CO₂e"
            detail=${`${zone}: ${figure(intensity)} g/kWh`}
            title=${source}
        />
        ${embodied !== undefined && html`<${Figure} label="Making the machine" value=${grams(embodied * 1e6)} unit="CO₂e" />`}
        ${sci && html`<${Figure} label="SCI (ISO/IEC 21031)" value=${grams(sci.nanograms_per_token / 1e3)} unit="per token" />`}`;
}

/** Joules as the gateway shows them: three digits. */
function amount(value) {
    return joules(value * 1e6);
}
