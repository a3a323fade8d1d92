/** Limits of a key, a user or an account: as fields of a form, as the gateway's API reads them, and in words. */
import { Field } from "./components.js";
import { count, nanocredits } from "./format.js";
import { html } from "./html.js";

const WHOLE = { read: whole, inputmode: "numeric" };
const CREDITS = { read: decimal, inputmode: "decimal" };
const LINES = { read: lines, rows: 2 };

/** Every limit, in the API's words. `words` tells one that is set. */
const LIMITS = {
    requests_per_minute: { label: "Requests per minute", words: (value) => `${count(value)} requests/min`, ...WHOLE },
    tokens_per_minute: { label: "Tokens per minute", words: (value) => `${count(value)} tokens/min`, ...WHOLE },
    concurrent_requests: { label: "Requests at the same time", words: (value) => `${count(value)} at once`, ...WHOLE },
    joules_per_day: { label: "Joules per day", words: (value) => `${count(value)} J/day`, ...WHOLE },
    credits_per_day: { label: "Credits per day", words: (value) => `${inCredits(value)}/day`, ...CREDITS },
    credits_per_month: { label: "Credits per month", words: (value) => `${inCredits(value)}/month`, ...CREDITS },
    models: {
        label: "Models",
        hint: "One a line; all models if empty.",
        words: (list) => (list.length === 1 ? `only ${list[0]}` : `${list.length} models`),
        ...LINES,
    },
    networks: {
        label: "Networks",
        hint: "Addresses or networks such as 192.0.2.0/24, one a line; from anywhere if empty.",
        words: (list) => (list.length === 1 ? `from ${list[0]}` : `from ${list.length} networks`),
        ...LINES,
    },
};
const SHORT = Object.keys(LIMITS).filter((name) => !LIMITS[name].rows);
const LONG = Object.keys(LIMITS).filter((name) => LIMITS[name].rows);

/** Texts for the form's fields, from limits as the API shows them. */
export function asTexts(limits = {}) {
    const text = (value) => (Array.isArray(value) ? value.join("\n") : String(value ?? ""));
    return Object.fromEntries(Object.keys(LIMITS).map((name) => [name, text(limits[name])]));
}

/**
 * What the API reads, from the texts of the fields; an empty one is no limit.
 *
 * @returns {{ limits: object, errors: Record<string, string> }}
 */
export function fromTexts(texts, only = Object.keys(LIMITS)) {
    const limits = {};
    const errors = {};
    for (const name of only) {
        const { value = null, error } = texts[name].trim() === "" ? {} : LIMITS[name].read(texts[name].trim());
        limits[name] = value;
        if (error) errors[name] = error;
    }
    return { limits, errors };
}

/** Of a key for managing only this can be limited. */
export const OF_MANAGEMENT = ["networks"];

/** The field that a refusal of the gateway is about, where its sentence doesn't name one. */
export function fieldOf(problem) {
    if (problem.field) return problem.field;
    return /neither an address nor a network/.test(problem.message) ? "networks" : null;
}

/** Limits in words, those alone that are set. */
export function inWords(limits) {
    const set = Object.keys(LIMITS).filter((name) => limits[name] !== null && limits[name] !== undefined);
    return set.map((name) => LIMITS[name].words(limits[name]));
}

/** The form's fields; `only` names those to show. */
export function LimitFields({ texts, errors, onChange, only = Object.keys(LIMITS) }) {
    const field = (name) => {
        const { label, hint, inputmode, rows } = LIMITS[name];
        return html`<${Field}
            key=${name}
            ...${{ label, hint, inputmode, rows, name }}
            error=${errors[name]}
            value=${texts[name]}
            placeholder=${rows ? undefined : "no limit"}
            autocomplete="off"
            spellcheck=${false}
            onInput=${({ target }) => onChange({ ...texts, [name]: target.value })}
        />`;
    };
    const shown = (names) => names.filter((name) => only.includes(name)).map(field);
    return html`<div class="pair">${shown(SHORT)}</div>${shown(LONG)}`;
}

function inCredits(value) {
    return `${value} ${value === "1" ? "credit" : "credits"}`;
}

function whole(text) {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    return Number.isSafeInteger(value) ? { value } : { error: "A whole number, such as 60, or nothing for no limit." };
}

function decimal(text) {
    if (nanocredits(text) !== null) return { value: text };
    return { error: 'A decimal of credits with up to nine decimals, such as "2.5", or nothing for no limit.' };
}

function lines(text) {
    return {
        value: text
            .split(/[\n,]/)
            .map((line) => line.trim())
            .filter(Boolean),
    };
}
