/** Figures as people read them. Sums are integers, and exact: nanocredits, microjoules, micrograms, microseconds. */
import { html } from "./html.js";

/** The language of the page, so that figures and words agree. */
const LANGUAGE = "en-GB";
const NANOCREDITS = 1_000_000_000n;
const grouped = new Intl.NumberFormat(LANGUAGE);
const compact = new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumSignificantDigits: 3 });
const threeDigits = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat(LANGUAGE, { style: "percent", maximumFractionDigits: 1 });
const localMoment = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
const localMomentInSeconds = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });
const localDay = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });

/** Adds integers of any size exactly. */
export function sum(values) {
    return values.reduce((total, value) => total + BigInt(value ?? 0), 0n);
}

/** Nanocredits as exact credits: 12340 is "0.00001234". */
export function credits(nanocredits) {
    const value = BigInt(nanocredits);
    const size = value < 0n ? -value : value;
    const fraction = String(size % NANOCREDITS)
        .padStart(9, "0")
        .replace(/0+$/, "");
    const point = fraction === "" ? "" : `.${fraction}`;
    return `${value < 0n ? "−" : ""}${grouped.format(size / NANOCREDITS)}${point}`;
}

/** The same for a figure at a glance, rounded to three digits. */
export function roundCredits(nanocredits) {
    const value = Number(nanocredits) / Number(NANOCREDITS);
    const digits = Math.abs(value) >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
    return new Intl.NumberFormat(LANGUAGE, digits).format(value);
}

/** Exact credits as the API writes them, for what people type: "2.5" is 2500000000n. Null when it is no such decimal. */
export function nanocredits(text) {
    const found = /^(\d{1,10})(?:\.(\d{1,9}))?$/.exec(text.trim());
    return found === null ? null : BigInt(found[1]) * NANOCREDITS + BigInt((found[2] ?? "").padEnd(9, "0"));
}

/** Microjoules in the unit that suits: mJ, J, kJ, kWh. */
export function joules(microjoules) {
    return inUnit(
        Number(microjoules),
        [
            [3.6e12, "kWh", 3.6e12],
            [1e9, "kJ", 1e9],
            [1e6, "J", 1e6],
            [0, "mJ", 1e3],
        ],
        "J",
    );
}

/** Micrograms in the unit that suits: µg, mg, g, kg. */
export function grams(micrograms) {
    return inUnit(
        Number(micrograms),
        [
            [1e9, "kg", 1e9],
            [1e6, "g", 1e6],
            [1e3, "mg", 1e3],
            [0, "µg", 1],
        ],
        "g",
    );
}

/** Microseconds in the unit that suits. */
export function duration(microseconds) {
    const seconds = Number(microseconds) / 1e6;
    if (seconds < 60) {
        return inUnit(
            Number(microseconds),
            [
                [1e6, "s", 1e6],
                [1e3, "ms", 1e3],
                [0, "µs", 1],
            ],
            "s",
        );
    }
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
    if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
    return `${Math.floor(seconds / 86_400)} d ${Math.round((seconds % 86_400) / 3600)} h`;
}

/** An integer with its thousands set apart. */
export function count(value) {
    return grouped.format(value);
}

/** An integer at a glance: 12.3K. */
export function roundCount(value) {
    return Number(value) < 10_000 ? count(value) : compact.format(value);
}

/** Tokens, in words. */
export function tokens(value) {
    return `${count(value)} ${Number(value) === 1 ? "token" : "tokens"}`;
}

/** A share of one as a percentage. */
export function percentage(share) {
    return percent.format(share);
}

/** Any figure with three digits. */
export function figure(value) {
    return threeDigits.format(value);
}

/** A moment in the reader's own time, with the exact one behind it. */
export function moment(iso, { seconds = false } = {}) {
    if (iso === null || iso === undefined) return "–";
    const at = new Date(iso);
    const text = (seconds ? localMomentInSeconds : localMoment).format(at);
    return html`<time datetime=${at.toISOString()} title=${at.toISOString()}>${text}</time>`;
}

/** A day, in UTC, as the books count days. */
export function day(iso) {
    const at = new Date(iso);
    return html`<time datetime=${at.toISOString()}>${localDay.format(at)}</time>`;
}

/** A moment as its distance from now: "3 minutes ago". */
export function ago(iso) {
    if (iso === null || iso === undefined) return "never";
    const at = new Date(iso);
    return html`<time datetime=${at.toISOString()} title=${localMomentInSeconds.format(at)}>${distance(at)}</time>`;
}

function distance(at) {
    const seconds = (at.getTime() - Date.now()) / 1000;
    const steps = [
        ["day", 86_400],
        ["hour", 3600],
        ["minute", 60],
    ];
    const [unit, length] = steps.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
    return relative.format(Math.trunc(seconds / length), unit);
}

/** The first unit that the value reaches; nothing at all is told in the usual one. */
function inUnit(value, units, usual) {
    if (value === 0) return `0 ${usual}`;
    const [, unit, size] = units.find(([from]) => Math.abs(value) >= from);
    const shown = value / size;
    return `${Math.abs(shown) >= 1000 ? grouped.format(Math.round(shown)) : threeDigits.format(shown)} ${unit}`;
}
