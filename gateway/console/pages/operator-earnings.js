/** What nodes earned, by day and for each kilowatt-hour: read off the ledger and off the nodes' closed days. */
import { get } from "../api.js";
import { sum } from "../format.js";
import { kilowattHours } from "./node-words.js";

const DAYS = 30;
const DAY = 86_400_000;
const LINES = 200;
/** Lines that are read at most: whoever has more in a month reads them through the API. */
const PAGES = 15;

/** @typedef {{ day: string, earned: bigint, paidOut: bigint, requests: number }} Earned */

/**
 * The last days of earnings.
 *
 * @returns {Promise<{ days: Earned[], lastDay: bigint, complete: boolean }>} `complete` is false when the ledger has more
 *     lines of that time than were read.
 */
export async function earnings(account, signal) {
    const from = new Date(startOfDay(Date.now()) - (DAYS - 1) * DAY);
    const lines = [];
    let before;
    for (let page = 0; page < PAGES; page++) {
        const { data, next } = await get("/api/ledger", { from: from.toISOString(), limit: LINES, before }, { signal });
        lines.push(...data.filter((line) => line.account === `operator:${account}`));
        if (!next) return { days: byDay(lines), lastDay: ofLastDay(lines), complete: true };
        before = next;
    }
    return { days: byDay(lines), lastDay: ofLastDay(lines), complete: false };
}

/** Earned and paid out on each day, UTC, the oldest first; days without a line are there too. */
export function byDay(lines, now = Date.now()) {
    const first = startOfDay(now) - (DAYS - 1) * DAY;
    const days = Array.from({ length: DAYS }, (_, index) => new Date(first + index * DAY).toISOString().slice(0, 10));
    const groups = Map.groupBy(lines, (line) => new Date(line.created_at).toISOString().slice(0, 10));
    return days.map((day) => {
        const all = groups.get(day) ?? [];
        const income = all.filter(({ kind }) => kind !== "payout");
        const paid = all.filter(({ kind }) => kind === "payout");
        const amount = (some) => sum(some.map(({ nanocredits }) => nanocredits));
        return { day, earned: amount(income), paidOut: -amount(paid), requests: income.filter(({ kind }) => kind === "settlement").length };
    });
}

function ofLastDay(lines, now = Date.now()) {
    const recent = lines.filter(({ kind, created_at: at }) => kind !== "payout" && now - Date.parse(at) < DAY);
    return sum(recent.map(({ nanocredits }) => nanocredits));
}

function startOfDay(time) {
    return Math.floor(time / DAY) * DAY;
}

/** What all nodes drew, by day that is closed for all that reported, and in the last 24 hours. */
export function drawn(energies) {
    const days = new Map();
    for (const { day, total_microjoules: total } of energies.flatMap((energy) => energy.days)) {
        days.set(day, (days.get(day) ?? 0n) + BigInt(total));
    }
    return { days, lastDay: sum(energies.map(({ last_day: lastDay }) => lastDay.total_microjoules)) };
}

/** Nanocredits for a kilowatt-hour, as a number; null where no energy is known. */
export function perKilowattHour(nanocredits, microjoules) {
    const hours = kilowattHours(microjoules ?? 0n);
    return hours > 0 ? Number(nanocredits) / hours : null;
}
