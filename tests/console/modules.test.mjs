/** The modules behind the pages, in the browser that runs them: figures, limits, events, buckets of time. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { CONSOLE_URL, withPage } from "./support.mjs";

/** Runs `inside` in the console's page with one of its modules, and gives back what can be sent. */
async function withModule(module, inside, argument) {
    let told;
    await withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        const source = `import(${JSON.stringify(`/console/${module}`)}).then((module) => (${inside})(module, ${JSON.stringify(argument)}))`;
        told = await page.evaluate(source);
    });
    return told;
}

test("credits are told to the last nanocredit and read back the same", async () => {
    const told = await withModule("format.js", ({ credits, nanocredits, sum }) => ({
        exact: [0, 1, 12340, 2_500_000_000, -1, "9007199254740993000000001"].map((each) => credits(each)),
        read: ["2.5", "0.000000001", "1000", "", "-1", "1.0000000001", "1e3"].map((each) => String(nanocredits(each))),
        sum: String(sum([9007199254740991, 2n, "1", null])),
    }));
    assert.deepEqual(told.exact, [
        "0",
        "0.000000001",
        "0.00001234",
        "2.5",
        "−0.000000001",
        "9,007,199,254,740,993.000000001",
    ]);
    assert.deepEqual(told.read, ["2500000000", "1", "1000000000000", "null", "null", "null", "null"]);
    assert.equal(told.sum, "9007199254740994");
});

test("figures are told in the unit that suits", async () => {
    const told = await withModule("format.js", ({ joules, grams, duration, percentage }) => [
        ...[0, 1500, 2_500_000, 7_200_000_000, 7.2e12].map(joules),
        ...[0, 12, 4_500_000].map(grams),
        ...[900, 12_000, 1_230_000, 125_000_000, 7_260_000_000].map(duration),
        percentage(0.1234),
    ]);
    assert.deepEqual(told, [
        ...["0 J", "1.5 mJ", "2.5 J", "7.2 kJ", "2 kWh"],
        ...["0 g", "12 µg", "4.5 g"],
        ...["900 µs", "12 ms", "1.23 s", "2 min 5 s", "2 h 1 min"],
        "12.3%",
    ]);
});

test("events are read whole, however the bytes are cut", async () => {
    const text =
        ': energy {"joules":1}\r\nevent: usage\ndata: {"a":\ndata: 1}\n\ndata: ü\n\n: last\ndata: [DONE]\n\ndata: lost';
    const inside = async ({ events }, text) => {
        const bytes = new TextEncoder().encode(text);
        const read = async (size) => {
            let at = 0;
            const pull = (controller) => {
                if (at >= bytes.length) return controller.close();
                controller.enqueue(bytes.slice(at, (at += size)));
            };
            const all = [];
            for await (const event of events(new ReadableStream({ pull }))) all.push(event);
            return JSON.stringify(all);
        };
        return Promise.all([1, 2, 3, 7, 1000].map(read));
    };
    const expected = [
        { comment: 'energy {"joules":1}' },
        { event: "usage", data: '{"a":\n1}' },
        { event: "message", data: "ü" },
        { comment: "last" },
        { event: "message", data: "[DONE]" },
    ];
    for (const each of await withModule("sse.js", inside, text)) assert.deepEqual(JSON.parse(each), expected);
});

test("limits are read, refused and told in words", async () => {
    const told = await withModule("limits.js", ({ asTexts, fromTexts, inWords }) => {
        const texts = {
            ...asTexts(),
            requests_per_minute: " 60 ",
            credits_per_day: "2.5",
            models: "a\n\n b",
            joules_per_day: "1.5",
        };
        const { limits, errors } = fromTexts(texts);
        return { limits, errors: Object.keys(errors), words: inWords({ ...limits, joules_per_day: null }) };
    });
    assert.deepEqual(
        [told.limits.requests_per_minute, told.limits.credits_per_day, told.limits.models],
        [60, "2.5", ["a", "b"]],
    );
    assert.equal(told.limits.networks, null);
    assert.deepEqual(told.errors, ["joules_per_day"]);
    assert.deepEqual(told.words, ["60 requests/min", "2.5 credits/day", "2 models"]);
});

test("ranges end with the present bucket and begin on UTC's borders", async () => {
    const told = await withModule("pages/overview-usage.js", ({ RANGES, span }) => {
        const now = new Date("2026-03-31T23:59:30Z");
        return Object.entries(RANGES).map(([name, range]) => {
            const { from, times, earlier } = span(range, now);
            return [
                name,
                from.toISOString(),
                new Date(times.at(-1) * 1000).toISOString(),
                times.length,
                earlier.toISOString(),
            ];
        });
    });
    assert.deepEqual(told, [
        ["1h", "2026-03-31T23:00:00.000Z", "2026-03-31T23:59:00.000Z", 60, "2026-03-31T22:00:00.000Z"],
        ["24h", "2026-03-31T00:00:00.000Z", "2026-03-31T23:00:00.000Z", 24, "2026-03-30T00:00:00.000Z"],
        ["7d", "2026-03-25T00:00:00.000Z", "2026-03-31T23:00:00.000Z", 168, "2026-03-18T00:00:00.000Z"],
        ["30d", "2026-03-02T00:00:00.000Z", "2026-03-31T00:00:00.000Z", 30, "2026-01-31T00:00:00.000Z"],
        ["12mo", "2025-04-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z", 12, "2024-04-01T00:00:00.000Z"],
    ]);
});

test("beyond seven groups the others are one, and nothing is lost", async () => {
    const told = await withModule("pages/overview-usage.js", ({ grouped }) => {
        const row = (model, tokens) => ({
            ...{ model, start: "2026-03-31T00:00:00Z", requests: 1, prompt_tokens: tokens, completion_tokens: 1 },
            ...{ nanocredits: 2, microjoules: 3, micrograms_co2e: 4 },
        });
        const rows = Array.from({ length: 10 }, (_, index) => row(`m${index}`, index));
        const groups = grouped(rows, "model", [Date.parse("2026-03-31T00:00:00Z") / 1000]);
        return groups.map(({ id, total, values }) => [
            id ?? "others",
            Number(total.tokens),
            Number(values.requests[0]),
        ]);
    });
    assert.deepEqual(
        told.map(([id]) => id),
        ["m9", "m8", "m7", "m6", "m5", "m4", "m3", "others"],
    );
    assert.deepEqual(told.at(-1), ["others", 6, 3]);
});
