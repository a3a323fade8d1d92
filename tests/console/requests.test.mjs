/** The list of requests and a request's own page, against what the books say. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import {
    accessible,
    API_KEY,
    ask,
    fits,
    GATEWAY_URL,
    goTo,
    loaded,
    MODEL,
    PHONE,
    picture,
    signedIn,
    withPage,
} from "./support.mjs";

const bearer = process.env.ADMIN_TOKEN;
const NODE = "01a217a0-ca2c-75fe-8bec-4ffb84c520e1";
const EVIL = `<img src=x onerror="document.title='hacked'"><script>document.title='hacked'</script>`;

/** Asks the model, and answers with the request's id. `extra` is more of the body. */
async function asked(extra = {}, key = API_KEY) {
    const body = {
        model: MODEL,
        messages: [{ role: "user", content: "Name a colour." }],
        max_tokens: 4,
        temperature: 0,
        ...extra,
    };
    const response = await fetch(`${GATEWAY_URL}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify(body),
    });
    await response.text();
    return response.headers.get("x-request-id");
}

/** What the books say of it, as soon as they do, and have its receipt if a node computed something. */
async function booked(id) {
    const end = Date.now() + 30_000;
    const there = async (path) => {
        const response = await fetch(GATEWAY_URL + path, { headers: { authorization: `Bearer ${bearer}` } });
        return response.ok ? response.json() : null;
    };
    for (;;) {
        const request = await there(`/api/requests/${id}`);
        const receipt = request?.completion_tokens > 0 && (await there(`/api/requests/${id}/receipt`));
        if (request && (receipt?.proof || request.completion_tokens === 0)) return request;
        assert.ok(Date.now() < end, `the books don't know ${id}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

const rows = (page) => page.locator("main tbody tr");
const filter = (page, label) => page.getByRole("form", { name: "Filters" }).getByLabel(label, { exact: true });
const figureOf = (page, label) =>
    page
        .locator(".figure", { has: page.getByText(label, { exact: true }) })
        .locator("dd")
        .first();

/** Rows that no gateway would have to come by. */
function row(changed = {}) {
    return {
        id: NODE,
        key: NODE,
        user: NODE,
        node: NODE,
        endpoint: "chat.completions",
        model: "m",
        streamed: true,
        outcome: "completed",
        status: 200,
        prompt_tokens: 30,
        cached_tokens: 10,
        completion_tokens: 5,
        nanocredits: 4250,
        cost: "0.00000425",
        price_version: 7,
        microjoules: 6_890_000,
        low_microjoules: 2_750_000,
        high_microjoules: 17_200_000,
        joules: 6.89,
        energy_tier: "E",
        energy_boundary: "node-dc",
        energy_method: "step-shapley/1",
        started_at: "2026-11-26T11:33:44.284542Z",
        first_byte_microseconds: 1_800_000,
        duration_microseconds: 2_600_000,
        ...changed,
    };
}

const attempt = (changed) => ({
    attempt: 1,
    node: NODE,
    outcome: "completed",
    choice: "load: 0 % of its slots, idle node",
    prompt_tokens: 30,
    completion_tokens: 5,
    overclaimed_tokens: 0,
    microjoules: 6_890_000,
    duration_microseconds: 2_600_000,
    ...changed,
});

const energyOf = (changed) => ({
    attempt: 1,
    node: NODE,
    delivered: true,
    sci: null,
    energy: {
        joules: 6.89,
        interval_90: [2.75, 17.2],
        marginal_joules: 6.12,
        prefill_joules: 4.71,
        decode_joules: 2.18,
        idle_share_joules: 0.11,
        facility_joules: 8.4,
        tier: "E",
        boundary: "node-dc",
        method: "step-shapley/1",
        pue: 1.2,
        g_co2e: 0.00078,
        grid_g_per_kwh: 334.1,
        grid_zone: "DE",
        grid_source: "ember-2025",
        status: "settled",
        ...changed,
    },
});

/** One request as the gateway would tell of it. */
async function told(page, { request, attempts = [attempt()], energy = [energyOf()] }) {
    await page.route(`**/api/requests/${NODE}`, (route) => route.fulfill({ json: { ...request, attempts } }));
    await page.route(`**/api/requests/${NODE}/energy`, (route) => {
        const next = Array.isArray(energy[0]) ? (energy.length > 1 ? energy.shift() : energy[0]) : energy;
        return route.fulfill({ json: { request: NODE, attempts: next } });
    });
    const receipt = { id: `${NODE}.1`, receipt: `e30.${btoa('{"alone":"attached"}')}.e30`, proof: "c2sp.org/tlog-proof@v1" };
    await page.route(`**/api/requests/${NODE}/receipt`, (route) => route.fulfill({ json: receipt }));
}

test("the list shows what the books say, and filters stand in the address", () =>
    withPage(async (page) => {
        const key = await ask("POST", "/api/keys", { bearer, body: { name: "for the list" } });
        const done = await booked(await asked({}, key.key));
        const refused = await booked(await asked({ temperature: 5 }, key.key));
        await signedIn(page, "requests");
        await filter(page, "Key").selectOption(key.id);
        await page.getByText("Shown here: 2 requests").waitFor();
        assert.ok(page.url().endsWith(`#/requests?key=${key.id}`), page.url());
        const link = page.locator(`a[href="#/requests/${done.id}"]`);
        const cells = await rows(page).filter({ has: link }).innerText();
        for (const text of [
            MODEL,
            "Completed",
            "for the list",
            `${done.prompt_tokens} + ${done.completion_tokens}`,
            done.cost,
        ]) {
            assert.ok(cells.includes(text), `${text} in ${cells}`);
        }
        await filter(page, "Outcome").selectOption("refused");
        await page.getByText("Shown here: 1 request,").waitFor();
        assert.equal(await page.locator(`a[href="#/requests/${refused.id}"]`).count(), 1);
        await filter(page, "Model").fill("no-such-model");
        await filter(page, "Model").press("Enter");
        await page.getByText("No request is like that.").waitFor();
        await page.goBack();
        await page.getByText("Shown here: 1 request,").waitFor();
        assert.equal(await filter(page, "Outcome").inputValue(), "refused");
        await page.reload();
        await page.getByText("Shown here: 1 request,").waitFor();
        await page.getByRole("button", { name: "Show all" }).click();
        await link.waitFor();
        assert.ok(page.url().endsWith("#/requests"));
    }));

test("times narrow the list down in the reader's own time", () =>
    withPage(
        async (page) => {
            const { id, started_at: at } = await booked(await asked({ temperature: 5 }));
            const local = (minutes) =>
                new Date(Date.parse(at) + minutes * 60_000 + 5 * 3_600_000 + 1_800_000).toISOString().slice(0, 16);
            await signedIn(page, "requests");
            const link = page.locator(`a[href="#/requests/${id}"]`);
            await link.waitFor();
            await filter(page, "From").fill(local(1));
            await filter(page, "From").blur();
            await link.waitFor({ state: "detached" });
            await filter(page, "Until").fill(local(-5));
            await filter(page, "Until").blur();
            await page.getByText("It ends before it begins.").waitFor();
            await filter(page, "From").fill(local(-10));
            await filter(page, "From").blur();
            await page.getByText("It ends before it begins.").waitFor({ state: "detached" });
            await filter(page, "Until").fill(local(2));
            await filter(page, "Until").blur();
            await link.waitFor();
        },
        { timezoneId: "Asia/Kolkata" },
    ));

test("older requests are a page away, and the way back leads to the same rows", () =>
    withPage(async (page) => {
        const { key, id } = await ask("POST", "/api/keys", { bearer, body: { name: "for pages" } });
        const ids = [];
        for (let count = 0; count < 52; count += 1) ids.push(await asked({ temperature: 5 }, key));
        await booked(ids.at(-1));
        await signedIn(page, `requests?key=${id}`);
        await page.getByText("Shown here: 50 requests").waitFor();
        const older = page.getByRole("button", { name: "Older" });
        await older.click();
        await page.getByText("Shown here: 2 requests").waitFor();
        assert.ok(await older.isDisabled());
        assert.equal(await page.locator(`a[href="#/requests/${ids[0]}"]`).count(), 1);
        await page.getByRole("button", { name: "Newer" }).click();
        await page.getByText("Shown here: 50 requests").waitFor();
        await page.locator(`a[href="#/requests/${ids.at(-1)}"]`).waitFor();
    }));

test("what is shown can be taken along as CSV, in which no name is a formula", () =>
    withPage(async (page) => {
        await page.route(/\/api\/requests$/, (route) =>
            route.fulfill({ json: { data: [row({ model: '=1+1,"x"' })], next: null } }),
        );
        await page.route("**/api/nodes", (route) =>
            route.fulfill({ json: { data: [{ id: NODE, name: "@SUM(A1)" }] } }),
        );
        await signedIn(page, "requests");
        await rows(page).getByText("@SUM(A1)").waitFor();
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            page.getByRole("button", { name: "Download CSV" }).click(),
        ]);
        assert.equal(download.suggestedFilename(), "requests.csv");
        const [head, line, end] = (await readFile(await download.path(), "utf8")).split("\r\n");
        assert.ok(head.startsWith("id,started_at,endpoint,model,"));
        assert.ok(line.includes(`chat.completions,"'=1+1,""x""",true,completed,200,30,10,5,0.00000425,6.89,E`), line);
        assert.ok(line.endsWith(",'@SUM(A1)"), line);
        assert.equal(end, "");
    }));

test("a request's page shows its tries, time, energy and cost as the API has them", () =>
    withPage(async (page) => {
        const done = await booked(await asked({ provider: { sort: "energy" } }));
        await signedIn(page, `requests/${done.id}`);
        assert.equal(await figureOf(page, "Cost").innerText(), `${done.cost} credits`);
        await page.getByText(done.attempts[0].choice).waitFor();
        const lane = page.getByRole("img", { name: /^Request\. / });
        assert.match(await lane.getAttribute("aria-label"), /Until the first byte: [\d.,]+ m?s/);
        const picture = page.getByRole("img", { name: /for the prompt and .* for the answer, 9 times in 10 between/ });
        assert.equal(await picture.count(), 1);
        await page.getByText(/Tier E: nothing was measured/).waitFor();
        const cost = page.locator("section", { has: page.getByRole("heading", { name: "Cost" }) });
        const parts = await cost.locator("tbody td:last-child").allInnerTexts();
        const nanocredits = (text) => Math.round(Number(text.replaceAll(",", "")) * 1e9);
        assert.equal(
            parts.map(nanocredits).reduce((one, other) => one + other),
            done.nanocredits,
            "the parts are the whole",
        );
        await cost.getByText(/goes to the node’s operator/).waitFor();
    }));

test("a request's receipt is saved from its page, and verified in the browser", () =>
    withPage(async (page) => {
        const done = await booked(await asked());
        await signedIn(page, `requests/${done.id}`);
        const receipt = page.locator("section", { has: page.getByRole("heading", { name: "Receipt" }) });
        await receipt.getByText(/Node and gateway have both signed/).waitFor();
        await receipt.getByText(/It is in the public log/).waitFor();
        const saving = page.waitForEvent("download");
        await receipt.getByRole("button", { name: "Save it" }).click();
        const saved = JSON.parse(await readFile(await (await saving).path(), "utf8"));
        assert.equal(saved.id, `${done.id}.1`);
        await receipt.getByRole("link", { name: "Verify it" }).click();
        await page.getByRole("button", { name: "The gateway's keys: take this gateway's" }).click();
        await page.getByText(/ 0 do not/).waitFor();
    }));

test("a predicted figure is looked at again until it is settled", () =>
    withPage(async (page) => {
        await told(page, {
            request: row(),
            energy: [[energyOf({ joules: 5, status: "provisional" })], [energyOf({ joules: 6.89, status: "settled" })]],
        });
        await signedIn(page, `requests/${NODE}`);
        await page.getByText("A part of it is still predicted").waitFor();
        await page.getByText("No part of it is predicted any more.").waitFor();
        const carbon = await figureOf(page, "Carbon").innerText();
        assert.match(carbon, /780 µg CO₂e[\s\S]*DE: 334 g\/kWh/);
    }));

test("a request that several nodes tried shows each of them in its place", () =>
    withPage(async (page) => {
        const tries = [
            attempt({ attempt: 1, outcome: "node_failed", duration_microseconds: 600_000 }),
            attempt({ attempt: 2, outcome: "outdone", duration_microseconds: 500_000 }),
            attempt({ attempt: 3, duration_microseconds: 1_700_000 }),
        ];
        await told(page, {
            request: row(),
            attempts: tries,
            energy: [energyOf({}), { ...energyOf({}), attempt: 3, delivered: false }],
        });
        await signedIn(page, `requests/${NODE}`);
        await page.getByRole("img", { name: /Try 1: .* From 300 ms to 900 ms, node failed/ }).waitFor();
        await page.getByRole("img", { name: /Try 2: .* From 1.3 s to 1.8 s, outdone/ }).waitFor();
        await page.getByRole("img", { name: /Try 3: .* From 900 ms to 2.6 s, completed/ }).waitFor();
        await page.getByRole("img", { name: /Waiting for a node: 300 ms/ }).waitFor();
        await page.getByText("what other tries took is shown beside it").waitFor();
    }));

test("a figure that is not believed is not drawn, and a failure costs nothing", () =>
    withPage(async (page) => {
        const unknown = {
            attempt: 1,
            node: NODE,
            delivered: false,
            sci: null,
            energy: { tier: "X", boundary: "node-dc", method: "m", pue: 1, status: "unverified" },
        };
        const request = row({
            outcome: "node_failed",
            status: 502,
            nanocredits: 0,
            cost: "0",
            first_byte_microseconds: null,
        });
        await told(page, { request, energy: [unknown], attempts: [attempt({ outcome: "node_failed" })] });
        await signedIn(page, `requests/${NODE}`);
        await page.getByText("It cost nothing.").waitFor();
        await page.getByText("The gateway does not believe the node").waitFor();
        await page.getByRole("img", { name: /Without a first byte: 2.6 s/ }).waitFor();
    }));

test("a request that runs can be ended from its page, and appears when it has", () =>
    withPage(
        async (page) => {
            await signedIn(page, "requests");
            const response = await fetch(`${GATEWAY_URL}/v1/chat/completions`, {
                method: "POST",
                headers: { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" },
                body: JSON.stringify({
                    model: MODEL,
                    stream: true,
                    max_tokens: 2000,
                    messages: [{ role: "user", content: "Tell a long story." }],
                }),
            });
            const id = response.headers.get("x-commonwatt-request-id");
            const drained = response.text();
            await goTo(page, `requests/${id}`);
            await page.getByText("Nothing is booked under this id yet.").waitFor();
            await page.getByRole("button", { name: "End it now" }).click();
            await drained;
            assert.match(await figureOf(page, "Outcome").innerText(), /Cancelled/);
        },
        { refusals: [404] },
    ));

test("a request that does not exist is a sentence", () =>
    withPage(
        async (page) => {
            await signedIn(page, "requests/01000000-0000-7000-8000-000000000000");
            await page.getByText("There is no request 01000000…0000 in your account.").waitFor();
            await goTo(page, "requests/nonsense");
            await page.locator("main .notice").waitFor();
            await page.getByRole("link", { name: "All requests" }).click();
            await page.getByRole("heading", { name: "Requests" }).waitFor();
        },
        { refusals: [400, 404] },
    ));

test("what is wrong in the address is answered with a sentence", () =>
    withPage(
        async (page) => {
            await signedIn(page, "requests?from=yesterday");
            await page.getByRole("alert").waitFor();
            await page.getByRole("button", { name: "Show all" }).click();
            await page.getByRole("alert").waitFor({ state: "detached" });
        },
        { refusals: [400] },
    ));

test("names from outside are text, whatever they say", () =>
    withPage(async (page) => {
        const request = row({ model: EVIL, endpoint: EVIL });
        await page.route(/\/api\/requests$/, (route) => route.fulfill({ json: { data: [request], next: null } }));
        await page.route("**/api/nodes", (route) => route.fulfill({ json: { data: [{ id: NODE, name: EVIL }] } }));
        await page.route("**/api/keys", (route) =>
            route.fulfill({ json: { data: [{ id: NODE, name: EVIL, prefix: EVIL }] } }),
        );
        const energy = energyOf({ method: EVIL, grid_zone: EVIL, grid_source: EVIL });
        await told(page, { request, attempts: [attempt({ choice: EVIL })], energy: [energy] });
        await signedIn(page, "requests");
        assert.equal((await rows(page).innerText()).split("<img src=x").length, 4, "model, key and node");
        await rows(page).getByRole("link").click();
        await page.getByText("attributed by <img").waitFor();
        assert.equal(await page.locator("main img, main script").count(), 0);
        assert.ok(!(await page.title()).includes("hacked"));
    }));

test("the pages are for screen readers and for phones", () =>
    withPage(
        async (page) => {
            const { id } = await booked(await asked());
            await signedIn(page, "requests");
            await page.locator(`a[href="#/requests/${id}"]`).waitFor();
            await fits(page);
            await accessible(page);
            await goTo(page, `requests/${id}`);
            await page
                .getByText(/Tier E/)
                .first()
                .waitFor();
            await fits(page);
            await accessible(page);
        },
        { viewport: PHONE },
    ));

test("a request is reached and left with the keyboard alone", () =>
    withPage(async (page) => {
        const { id } = await booked(await asked({ temperature: 5 }));
        await signedIn(page, "requests?outcome=refused");
        const link = page.locator(`a[href="#/requests/${id}"]`);
        await link.focus();
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { name: "Request", exact: true }).waitFor();
        await page.waitForFunction(() => document.activeElement?.tagName === "H1");
        await page.keyboard.press("Shift+Tab");
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { name: "Requests" }).waitFor();
        assert.ok(page.url().endsWith("#/requests?outcome=refused"), "to the same list");
    }));

for (const [name, options] of Object.entries({ light: {}, dark: { dark: true }, phone: { viewport: PHONE } })) {
    test(`pictures of the requests: ${name}`, { skip: !process.env.SCREENSHOTS }, () =>
        withPage(async (page) => {
            const { id } = await booked(await asked({ max_tokens: 24, stream: true, provider: { sort: "carbon" } }));
            await signedIn(page, "requests");
            await loaded(page);
            await picture(page, `requests-${name}`);
            await goTo(page, `requests/${id}`);
            await page.getByText(/Tier [A-E]: /).waitFor();
            await picture(page, `request-${name}`);
        }, options),
    );
}
