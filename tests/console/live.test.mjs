/** The live view: what runs on the node is seen as it happens, by whoever is signed in. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, me } from "./operators.mjs";
import { API_KEY, CONSOLE_URL, MODEL, PHONE, accessible, ask, fits, loaded, picture, signedIn, withPage } from "./support.mjs";

const BODY = { model: MODEL, messages: [{ role: "user", content: "Say something about rivers." }], max_tokens: 24 };

function answer() {
    return ask("POST", "/v1/chat/completions", { bearer: API_KEY, body: BODY });
}

test("an answer is seen as it ends, with its tokens and its joules", () =>
    withPage(async (page) => {
        await signedIn(page, "live");
        assert.equal(await page.getByRole("radio", { name: "List" }).isChecked(), true, "who wants no motion gets the list");
        await page.getByText("live", { exact: true }).waitFor();
        const { usage } = await answer();
        const row = page.getByRole("region", { name: "What ended last" }).getByRole("row", { name: new RegExp(MODEL) }).first();
        await row.getByText(String(usage.completion_tokens), { exact: true }).waitFor();
        await row.getByText(/\d m?J/).waitFor();
        await row.getByText("completed").waitFor();
        assert.match(await page.locator(".figure", { hasText: "Attempts" }).locator(".value").textContent(), /^[1-9]/);
        await accessible(page);
    }));

test("nothing that is told names an account, a key or a text", async () => {
    const { account, id } = await me();
    const abort = new AbortController();
    const told = await fetch(new URL("/api/live", CONSOLE_URL), {
        headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
        signal: abort.signal,
    });
    assert.match(told.headers.get("content-type"), /^text\/event-stream/);
    const heard = collected(told.body, "event: ended");
    const { id: request } = await answer();
    const text = await heard;
    abort.abort();
    const [prefix] = /^sk-cw-[^-]+/.exec(API_KEY);
    for (const secret of [account, id, request, prefix, "rivers"]) assert.ok(!text.includes(secret), secret);
});

async function collected(body, until) {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of body) {
        text += decoder.decode(chunk, { stream: true });
        if (text.includes(until) && text.endsWith("\n\n")) return text;
    }
    return text;
}

test("whoever is not signed in sees nothing", async () => {
    const refused = await fetch(new URL("/api/live", CONSOLE_URL));
    assert.equal(refused.status, 401);
});

test("the picture moves while something runs, and rests afterwards", () =>
    withPage(
        async (page) => {
            await page.addInitScript(() => {
                const ask = globalThis.requestAnimationFrame.bind(globalThis);
                globalThis.framesAsked = 0;
                globalThis.requestAnimationFrame = (draw) => {
                    globalThis.framesAsked += 1;
                    return ask(draw);
                };
            });
            await signedIn(page, "live");
            await page.getByRole("img", { name: /^Requests flow/ }).waitFor();
            await page.getByText("live", { exact: true }).waitFor();
            const before = await page.evaluate(() => globalThis.framesAsked);
            await answer();
            await page.waitForFunction((asked) => globalThis.framesAsked > asked + 30, before);
            await page.waitForFunction(async () => {
                const asked = globalThis.framesAsked;
                await new Promise((done) => setTimeout(done, 700));
                return globalThis.framesAsked === asked;
            });
            await accessible(page);
            const running = answer();
            await page.waitForFunction((asked) => globalThis.framesAsked > asked + 20, await page.evaluate(() => globalThis.framesAsked));
            await page.emulateMedia({ colorScheme: "light" });
            await picture(page, "live-light");
            await page.emulateMedia({ colorScheme: "dark" });
            await picture(page, "live-dark");
            await running;
        },
        { reducedMotion: "no-preference" },
    ));

test("the picture fills a wall, in the dark", () =>
    withPage(
        async (page) => {
            await signedIn(page, "live");
            await page.getByRole("button", { name: "Full screen" }).press("Enter");
            await page.waitForFunction(() => document.fullscreenElement?.classList.contains("live"));
            const scheme = await page.evaluate(() => getComputedStyle(document.fullscreenElement).colorScheme);
            assert.equal(scheme, "dark");
            await page.evaluate(() => document.exitFullscreen());
            await page.getByRole("button", { name: "Full screen" }).waitFor();
        },
        { reducedMotion: "no-preference" },
    ));

test("rates are of the last seconds, and start anew when the gateway does", () =>
    withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        const figures = await page.evaluate(async () => {
            const { LiveModel } = await import("/console/pages/live-model.js");
            const model = new LiveModel();
            const summary = (ended, at) => {
                const data = { running: 1, nodes: 2, began: ended, ended, tokens: ended * 10, microjoules: ended * 5e6, micrograms_co2e: 0 };
                model.hear({ event: "summary", data }, at);
                return model.figures();
            };
            const rates = [];
            for (let second = 0; second <= 20; second++) rates.push(summary(second * second, second * 1000));
            return [rates[0], rates[20], summary(3, 21_000), summary(5, 22_000)].map(({ tokensPerSecond, watts }) => [tokensPerSecond, watts]);
        });
        // From 100 attempts to 400 in ten seconds.
        assert.deepEqual(figures, [[0, 0], [300, 150], [0, 0], [20, 10]]);
    }));

test("what runs on a node is what ran there at first, and began, and has not ended", () =>
    withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        const running = await page.evaluate(async () => {
            const { LiveModel } = await import("/console/pages/live-model.js");
            const model = new LiveModel();
            const seen = [];
            const hear = (event, data, at = 0) => {
                model.hear({ event, data }, at);
                seen.push(model.nodes.get("a").running);
            };
            const ended = { attempt: 1, node: "a", model: "m", tokens: 4, microjoules: null, tier: "X", outcome: "completed", milliseconds: 9 };
            hear("nodes", { data: [{ node: "a", region: "DE", slots: 4, running: 3, tier: "B" }] });
            hear("began", { attempt: 2, node: "a", model: "m", region: "DE" });
            hear("ended", ended);
            hear("missed", { count: 7 });
            hear("nodes", { data: [{ node: "a", region: "DE", slots: 4, running: 0, tier: "B" }] });
            hear("ended", ended);
            return [seen, model.missed, model.nodes.get("a").tokens, model.nodes.get("a").region];
        });
        assert.deepEqual(running, [[3, 4, 3, 3, 0, 0], 7, 8, "DE"]);
    }));

test("the nodes of a region stand beside each other, and everything within the picture", () =>
    withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        const placed = await page.evaluate(async () => {
            const { arrange } = await import("/console/pages/live-layout.js");
            const regions = ["DE", "FR", null, "DE", "US-CA", "FR"];
            const nodes = Array.from({ length: 200 }, (_, index) => ({ node: String(index), region: regions[index % 6], slots: 4, tier: "B" }));
            const { nodes: found } = arrange(nodes, 1000, 600, (id) => id);
            return [...found].map(([id, { x, y, radius }]) => ({ region: regions[id % 6], x, y, radius }));
        });
        assert.equal(placed.length, 200);
        const changes = placed.filter(({ region }, index) => region !== placed.at(index - 1).region).length;
        assert.equal(changes, 4, "each region is in one piece");
        assert.ok(placed.every(({ x, y, radius }) => x > radius && x < 1000 - radius && y > radius && y < 600 - radius));
    }));

test("the live view fits a phone", () =>
    withPage(
        async (page) => {
            await signedIn(page, "live");
            await loaded(page);
            await page.getByText("live", { exact: true }).waitFor();
            await fits(page);
            await picture(page, "live-phone");
        },
        { viewport: PHONE },
    ));
