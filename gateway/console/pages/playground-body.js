/** What the settings and the conversation become on the wire, and what is wrong with them before they go there. */

/**
 * @typedef {object} Settings As a person writes them: texts, an empty one asks for nothing.
 * @property {string} model
 * @property {string} system
 * @property {string} temperature
 * @property {string} maxTokens
 * @property {string} seed
 * @property {string} node A node's id or name.
 * @property {boolean} nodeOnly Nobody else may answer.
 * @property {string} sort
 * @property {string} tier The worst tier that will do.
 * @property {string} regions Separated by commas or spaces.
 */

/** @type {Settings} */
export const USUAL = {
    model: "",
    system: "",
    temperature: "0.7",
    maxTokens: "256",
    seed: "",
    node: "",
    nodeOnly: false,
    sort: "",
    tier: "",
    regions: "",
};

const NUMBERS = {
    temperature: {
        field: "temperature",
        lowest: 0,
        highest: 2,
        advice: "A number from 0 (always the likeliest word) to 2.",
    },
    maxTokens: {
        field: "max_tokens",
        lowest: 1,
        highest: 1_000_000,
        whole: true,
        advice: "A whole number from 1 on; leave it empty for as many as fit.",
    },
    seed: {
        field: "seed",
        lowest: 0,
        highest: Number.MAX_SAFE_INTEGER,
        whole: true,
        advice: "A whole number from 0 on; the same seed gives the same text.",
    },
};

/** The settings that a field of the request belongs to, for errors that name one. */
const SETTING_OF = [
    ["model", "model"],
    ["temperature", "temperature"],
    ["max_tokens", "maxTokens"],
    ["seed", "seed"],
    ["provider.order", "node"],
    ["provider.only", "node"],
    ["provider.sort", "sort"],
    ["provider.min_energy_tier", "tier"],
    ["provider.regions", "regions"],
];

/** @returns {Partial<Record<keyof Settings, string>>} A sentence for each setting that is wrong. */
export function mistakes(settings) {
    const found = {};
    if (!settings.model) found.model = "Choose a model.";
    for (const [setting, bounds] of Object.entries(NUMBERS)) {
        const text = settings[setting].trim();
        if (text && !fits(text, bounds)) found[setting] = bounds.advice;
    }
    return found;
}

function fits(text, { lowest, highest, whole }) {
    const number = Number(text);
    return number >= lowest && number <= highest && (!whole || Number.isInteger(number));
}

/** The setting that is to blame, if the gateway's error names a field of one. */
export function settingOf(field) {
    const found = SETTING_OF.find(([prefix]) => field === prefix || field?.startsWith(`${prefix}[`));
    return found?.[1] ?? null;
}

/** The body for `POST /v1/chat/completions`. */
export function bodyOf(settings, messages) {
    const system = settings.system.trim();
    const body = {
        model: settings.model,
        messages: system ? [{ role: "system", content: system }, ...messages] : messages,
        stream: true,
        stream_options: { include_usage: true },
    };
    for (const [setting, { field }] of Object.entries(NUMBERS)) {
        const text = settings[setting].trim();
        if (text) body[field] = Number(text);
    }
    const provider = providerOf(settings);
    return Object.keys(provider).length > 0 ? { ...body, provider } : body;
}

function providerOf({ node, nodeOnly, sort, tier, regions }) {
    const areas = regions.split(/[\s,;]+/).filter(Boolean);
    const named = node.trim();
    return {
        ...(named && (nodeOnly ? { only: [named] } : { order: [named] })),
        ...(sort && { sort }),
        ...(tier && { min_energy_tier: tier }),
        ...(areas.length > 0 && { regions: areas }),
    };
}

/** What was said so far, without turns that came to nothing. */
export function messagesOf(turns) {
    return turns
        .filter((turn) => turn.answer.text)
        .flatMap((turn) => [
            { role: "user", content: turn.asked },
            { role: "assistant", content: turn.answer.text },
        ]);
}
