/** What was used: loaded from the gateway, put into buckets of time, and told apart by model, key or node. */
import { get } from "../api.js";
import { sum } from "../format.js";

const HOUR = 3600;
const DAY = 24 * HOUR;
/** The most groups that a chart tells apart; what is left is shown as one. */
const MOST_GROUPS = 7;
const ROWS_OF_A_PAGE = 1000;
const MOST_PAGES = 10;

/** What can be asked for. `length` and `step` are seconds; months have no length of their own. */
export const RANGES = {
    "1h": { text: "1 hour", short: "1 h", words: "the hour before", length: HOUR, bucket: "minute", step: 60 },
    "24h": { text: "24 hours", short: "24 h", words: "the 24 hours before", length: DAY, bucket: "hour", step: HOUR },
    "7d": { text: "7 days", short: "7 d", words: "the 7 days before", length: 7 * DAY, bucket: "hour", step: HOUR },
    "30d": { text: "30 days", short: "30 d", words: "the 30 days before", length: 30 * DAY, bucket: "day", step: DAY },
    "12mo": {
        text: "12 months",
        short: "12 mo",
        words: "the 12 months before",
        months: 12,
        bucket: "month",
        step: 31 * DAY,
    },
};

export const GROUPINGS = { model: "Model", key: "Key", node: "Node" };

const SUMS = {
    requests: ({ requests }) => requests,
    prompt: ({ prompt_tokens: tokens }) => tokens,
    completion: ({ completion_tokens: tokens }) => tokens,
    tokens: (row) => sum([row.prompt_tokens, row.completion_tokens]),
    cost: ({ nanocredits }) => nanocredits,
    energy: ({ microjoules }) => microjoules,
    carbon: ({ micrograms_co2e: micrograms }) => micrograms,
};

/**
 * @returns {Promise<{ times: number[], groups: object[], total: object, before: object, complete: boolean }>}
 *     `groups` are the greatest first, each with its `id`, its `total` and the `values` of each measure in each bucket.
 */
export async function loadUsage({ range, by }, signal, now = new Date()) {
    const { bucket } = RANGES[range];
    const { from, times, earlier } = span(RANGES[range], now);
    const [{ rows, complete }, before] = await Promise.all([
        allRows({ bucket, group_by: by, from: from.toISOString(), limit: ROWS_OF_A_PAGE }, signal),
        allRows({ bucket: "month", group_by: "", from: earlier.toISOString(), to: from.toISOString() }, signal),
    ]);
    return { times, complete, groups: grouped(rows, by, times), total: totals(rows), before: totals(before.rows) };
}

/** The buckets of a range that ends now, and where the range before it began. All borders are UTC's. */
export function span({ length, months, step }, now) {
    if (months) {
        const month = (back) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1));
        const times = Array.from({ length: months }, (_, index) => month(months - 1 - index).getTime() / 1000);
        return { from: month(months - 1), earlier: month(2 * months - 1), times };
    }
    const last = Math.floor(now.getTime() / 1000 / step) * step;
    const first = last - length + step;
    const times = Array.from({ length: length / step }, (_, index) => first + index * step);
    return { from: new Date(first * 1000), earlier: new Date((first - length) * 1000), times };
}

async function allRows(query, signal) {
    const rows = [];
    let after;
    for (let page = 0; page < MOST_PAGES; page += 1) {
        const { data, next } = await get("/api/usage", { ...query, after }, { signal });
        rows.push(...data);
        if (next === null) return { rows, complete: true };
        after = next;
    }
    return { rows, complete: false };
}

/** The greatest groups by tokens, and the others as one. */
export function grouped(rows, by, times) {
    const found = Map.groupBy(rows, (row) => row[by]);
    const all = [...found].map(([id, rows]) => ({ id, rows, total: totals(rows) }));
    all.sort(
        (one, other) =>
            Number(other.total.tokens - one.total.tokens) || Number(other.total.requests - one.total.requests),
    );
    const shown = all.slice(0, MOST_GROUPS);
    const others = all.slice(MOST_GROUPS).flatMap(({ rows }) => rows);
    if (others.length > 0) shown.push({ id: undefined, rows: others, total: totals(others) });
    return shown.map(({ id, rows, total }) => ({ id, total, values: inBuckets(rows, times) }));
}

function inBuckets(rows, times) {
    const found = Map.groupBy(rows, ({ start }) => Date.parse(start) / 1000);
    const each = (read) => times.map((time) => sum((found.get(time) ?? []).map(read)));
    return Object.fromEntries(Object.entries(SUMS).map(([name, read]) => [name, each(read)]));
}

function totals(rows) {
    return Object.fromEntries(Object.entries(SUMS).map(([name, read]) => [name, sum(rows.map(read))]));
}
