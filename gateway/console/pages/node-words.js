/** What is known of a node, in words and figures: pure, shared by the pages that show nodes. */
import { sum } from "../format.js";

const LANGUAGE = "en-GB";
const places = new Intl.DisplayNames([LANGUAGE], { type: "region", fallback: "code" });
const upToThreeDigits = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 3 });

/** Where nodes are that say nothing of their place. */
export const NOWHERE = "";

/** Why a node did not get a request, by the gateway's word for it. */
const REASONS = {
    unreachable: "Its connection was lost, or it was stopping",
    paused: "It was paused, or in maintenance",
    tried: "It was tried, and failed",
    above_hold: "Its price is more than twice what is usual",
    cannot_go_on: "It can't go on with another node's answer",
    not_named: "The request names other nodes",
    ignored: "The request names it as one to leave out",
    not_in_order: "The request tries others, and nobody else",
    wrong_region: "The request asks for another region",
    collects_data: "The request asks that nothing be kept",
    wrong_quantisation: "The request asks for other weights",
    too_dear: "Its price is above the request's maximum",
    lacks_parameters: "It lacks a parameter of the request",
    tier_too_low: "The request asks for energy that is measured better",
    too_much_carbon: "The request allows less carbon",
    resting: "It rested after failures, or had said that it is busy",
    full: "All its slots were taken",
    outdone: "Another node was better, or drawn by lot",
};

/** Reasons with their counts, the commonest first. */
export function reasons(skipped) {
    const named = Object.entries(skipped).map(([reason, times]) => ({ reason, times, text: REASONS[reason] ?? reason }));
    return named.sort((one, other) => other.times - one.times);
}

/** The country or part of one that a node says it is in, in words: "Germany", "United States, CA". */
export function place(region) {
    if (!region) return "No region given";
    const [country, part] = region.split("-");
    const name = places.of(country);
    return part ? `${name}, ${part}` : name;
}

/** Nodes by their region: those that say nothing of it come last. */
export function byRegion(nodes) {
    const groups = Object.groupBy(nodes, ({ offer }) => offer?.region ?? NOWHERE);
    const named = Object.entries(groups).map(([region, members]) => ({ region, place: place(region), nodes: members }));
    const order = (one, other) => (one.region === NOWHERE) - (other.region === NOWHERE) || one.place.localeCompare(other.place);
    return named.sort(order);
}

/** How a node stands, in a word: `kind` is that of a badge. */
export function state({ connected, paused, status, work }, now = Date.now()) {
    if (!connected) return { kind: paused ? "plain" : "bad", word: paused ? "paused, away" : "not connected" };
    if (paused) return { kind: "warning", word: "paused" };
    const maintenance = work?.maintenance;
    if (maintenance && Date.parse(maintenance.from) <= now) return { kind: "warning", word: "in maintenance" };
    if (status?.draining) return { kind: "warning", word: "stopping" };
    if (work?.copied_key_at) return { kind: "bad", word: "key in use twice" };
    return { kind: "good", word: status?.running > 0 ? "at work" : "ready" };
}

/** A price in nanocredits per token, as credits for a million of them: 400 is 0.4. */
export function perMillion(nanocredits) {
    return upToThreeDigits.format(Number(nanocredits) / 1000);
}

/** The whole of a price at a glance. */
export function priceText({ prompt, cached, completion }) {
    return `${perMillion(prompt)} in, ${perMillion(cached)} cached, ${perMillion(completion)} out`;
}

/** What a token of an answer takes that is computed alone, in microjoules; null while the node has not learned it. */
export function microjoulesPerToken(costs) {
    if (!costs || costs.windows === 0) return null;
    return Number(costs.fixed_microjoules) + Number(costs.decode_microjoules);
}

/** How well a node's figures are known: as it says, and no better than the gateway lets it count. */
export function tierOf({ believed, tier_cap: cap } = {}, offered = "X") {
    if (believed === false) return "X";
    return cap > offered ? cap : offered;
}

/** What became of the energy that a node drew: parts that add up to the whole. */
export function parts({ total_microjoules: total, attributed_microjoules: requests, idle_microjoules: idle }) {
    return { total: sum([total]), requests: sum([requests]), idle: sum([idle]), foreign: sum([total]) - sum([requests, idle]) };
}

/** Kilowatt-hours of microjoules. */
export function kilowattHours(microjoules) {
    return Number(microjoules) / 3.6e12;
}

/** The names of a node's models. */
export function modelNames({ offer }) {
    return (offer?.models ?? []).map(({ manifest }) => manifest.name);
}
