/** The playground: a conversation with the real model, its figures, its errors, and the key that it asks with. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { accessible, API_KEY, ask, fits, GATEWAY_URL, goTo, loaded, MODEL, PHONE, picture, signedIn, withPage } from "./support.mjs";

const run = promisify(execFile);
const SHORT = { "Most tokens": "12", Temperature: "0", Seed: "1" };
/** A model on a processor takes its time. */
const ANSWER = { timeout: 120_000 };

async function opened(page, settings = SHORT) {
    await signedIn(page, "playground");
    await page.getByRole("button", { name: "Make a key for this page" }).click();
    await page.getByText("Asking with a key made for this page").waitFor();
    await page.locator(`option[value="${MODEL}"]`).first().waitFor({ state: "attached" });
    for (const [label, value] of Object.entries(settings)) await setting(page, label).fill(value);
}

const message = (page) => page.getByRole("textbox", { name: "Message", exact: true });
const setting = (page, label) => page.getByRole("textbox", { name: label });
const answers = (page) => page.locator(".playground-turn");
const figureOf = (turn, label) =>
    turn.locator(".figure", { has: turn.page().getByText(label, { exact: true }) }).locator("dd");

async function say(page, text) {
    await message(page).fill(text);
    await message(page).press("Enter");
}

/** The last answer, once its figures are there. */
async function answered(page, count = 1) {
    const turn = answers(page).nth(count - 1);
    await figureOf(turn, "Cost").waitFor(ANSWER);
    return turn;
}

/** What the books say of a request; they follow the answer at once, and not at the same time. */
const bookedRequest = (id) =>
    eventually(async () => {
        const { data } = await ask("GET", "/api/requests?limit=20", { bearer: process.env.ADMIN_TOKEN });
        return data.find((request) => request.id === id);
    });

/** Waits until a request has its receipt: the page that shows it asks for that, and until it is signed there is none. */
const signedRequest = (id) =>
    eventually(async () => {
        const headers = { authorization: `Bearer ${process.env.ADMIN_TOKEN}` };
        return (await fetch(`${GATEWAY_URL}/api/requests/${id}/receipt`, { headers })).ok;
    });

/** What `look` finds, as soon as it finds something. */
async function eventually(look) {
    const end = Date.now() + 15_000;
    for (;;) {
        const found = await look();
        if (found) return found;
        assert.ok(Date.now() < end, "it takes too long");
    }
}

/** An answer as the gateway streams it. */
function streamed(...events) {
    const body = events.map((event) => (typeof event === "string" ? event : `data: ${JSON.stringify(event)}`));
    return { status: 200, contentType: "text/event-stream", body: body.map((event) => `${event}\n\n`).join("") };
}

const piece = (content) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });

test("an answer streams in and shows what it took, and its request can be looked up", () =>
    withPage(async (page) => {
        await opened(page);
        await say(page, "Name a colour.");
        const turn = await answered(page);
        assert.notEqual((await turn.locator(".playground-said").innerText()).trim(), "");
        assert.match(await figureOf(turn, "First token").innerText(), /\d m?s$/);
        assert.match(await figureOf(turn, "Pace").innerText(), /\d tokens\/s/);
        assert.match(await figureOf(turn, "Tokens").innerText(), /^12\n?and \d+ of the prompt$/);
        assert.match(await figureOf(turn, "Energy").innerText(), /J[\s\S]*Energy tier E[\s\S]*to .* J, 9 times in 10/);

        const link = figureOf(turn, "Request").getByRole("link");
        const id = (await link.getAttribute("href")).split("/").at(-1);
        const booked = await bookedRequest(id);
        assert.equal(await figureOf(turn, "Cost").innerText(), `${booked.cost} credits`);
        await signedRequest(id);
        await link.click();
        await page.getByRole("heading", { name: "Request", exact: true }).waitFor();
        await page.getByText(id).first().waitFor();
    }));

test("a conversation goes on, its last answer can be asked for again, and it can be cleared", () =>
    withPage(async (page) => {
        await opened(page);
        await say(page, "Name a colour.");
        const first = await answered(page);
        await say(page, "And another one?");
        const second = await answered(page, 2);
        const prompt = async (turn) => Number(/and (\d+)/.exec(await figureOf(turn, "Tokens").innerText())[1]);
        assert.ok((await prompt(second)) > (await prompt(first)), "the first turn is part of the second one's prompt");

        const text = await second.locator(".playground-said").innerText();
        await page.getByRole("button", { name: "Try again" }).click();
        await figureOf(answers(page).nth(1), "Cost").waitFor({ state: "detached" });
        const again = await answered(page, 2);
        assert.equal(await again.locator(".playground-said").innerText(), text, "the same seed gives the same text");
        assert.equal(await answers(page).count(), 2);

        await goTo(page, "requests");
        await goTo(page, "playground");
        assert.equal(await answers(page).count(), 2, "it is still there after a look at another page");
        await page.getByRole("button", { name: "Clear" }).click();
        await page.getByText("Nothing was said yet.").waitFor();
    }));

test("Stop ends an answer in good order, with its figures", () =>
    withPage(async (page) => {
        await opened(page, { ...SHORT, "Most tokens": "600" });
        await say(page, "Tell me a long story about a river.");
        await answers(page)
            .locator(".playground-said", { hasText: /\w+ \w+/ })
            .waitFor(ANSWER);
        await page.getByRole("button", { name: "Stop" }).click();
        const turn = await answered(page);
        await turn.getByText("You stopped it").waitFor();
        const id = (await figureOf(turn, "Request").getByRole("link").getAttribute("href")).split("/").at(-1);
        assert.equal((await bookedRequest(id)).outcome, "cancelled");
    }));

test("the key that was made is limited, ends by itself and is revoked on demand", () =>
    withPage(async (page) => {
        await signedIn(page, "playground");
        const credits = page.getByLabel("It may spend at most");
        await credits.fill("much");
        await page.getByRole("button", { name: "Make a key for this page" }).click();
        await page.getByText("A decimal of credits, such as 0.5.").waitFor();
        assert.equal(await credits.getAttribute("aria-invalid"), "true");
        await credits.fill("0.25");
        await page.getByRole("button", { name: "Make a key for this page" }).click();
        await page.getByText("Asking with a key made for this page").waitFor();
        const newest = async () => (await ask("GET", "/api/keys", { bearer: process.env.ADMIN_TOKEN })).data[0];
        const made = await newest();
        assert.equal(made.limits.credits_per_day, "0.25");
        assert.ok(Date.parse(made.expires_at) <= Date.now() + 3_600_000);
        assert.equal(made.revoked_at, null);
        assert.ok(!(await page.content()).includes(`${made.prefix}-`), "its secret is nowhere in the page");

        const gone = page.waitForResponse((response) => response.request().method() === "DELETE");
        await page.getByRole("button", { name: "Revoke it" }).click();
        await gone;
        assert.notEqual((await newest()).revoked_at, null);
    }));

test("the key that was made is revoked when the console is closed", () =>
    withPage(async (page) => {
        await signedIn(page, "playground");
        await page.getByRole("button", { name: "Make a key for this page" }).click();
        await page.getByText("Asking with a key made for this page").waitFor();
        const keys = async () => (await ask("GET", "/api/keys", { bearer: process.env.ADMIN_TOKEN })).data;
        const [{ id }] = await keys();
        await page.goto("about:blank");
        await eventually(async () => (await keys()).find((key) => key.id === id).revoked_at);
    }));

test("a key that is no key is answered beside its field", () =>
    withPage(
        async (page) => {
            await signedIn(page, "playground");
            const field = page.getByLabel("Or use a key of your own");
            await field.fill("secret");
            await page.getByRole("button", { name: "Use this key" }).click();
            await page.getByText("A key begins with sk-cw-.").waitFor();
            await field.fill("sk-cw-aaaaaaaaaaaaaaaa-bbbb");
            await page.getByRole("button", { name: "Use this key" }).click();
            await page.locator(".field.wrong", { has: field }).getByText(/key/i).last().waitFor();
            await field.fill(API_KEY);
            await page.getByRole("button", { name: "Use this key" }).click();
            await page.getByText("Asking with your own key").waitFor();
        },
        { refusals: [401] },
    ));

test("wrong settings are answered beside them, whoever finds them wrong", () =>
    withPage(
        async (page) => {
            await opened(page, { Temperature: "3", "Most tokens": "1.5" });
            await say(page, "Hello");
            for (const label of ["Temperature", "Most tokens"]) {
                assert.equal(await setting(page, label).getAttribute("aria-invalid"), "true", label);
            }
            assert.equal(await answers(page).count(), 0, "nothing was sent");
            await setting(page, "Temperature").fill("1");
            await setting(page, "Most tokens").fill("5");
            await page.getByText("Where it may be computed").click();
            await setting(page, "Regions").fill("Atlantis");
            await message(page).press("Enter");
            await page
                .locator(".field.wrong", { has: setting(page, "Regions") })
                .getByText(/Atlantis/)
                .waitFor();
            await answers(page).getByText("Change the setting that is named").waitFor();
        },
        { refusals: [400] },
    ));

test("what no node can give is said with what to do, and asking again needs no typing", () =>
    withPage(
        async (page) => {
            await opened(page);
            await page.getByText("Where it may be computed").click();
            await page.getByLabel("How well its energy is known").selectOption("A");
            await say(page, "Name a colour.");
            await answers(page)
                .getByText(/Press “Try again” in \d+ s\./)
                .waitFor();
            await page.getByLabel("How well its energy is known").selectOption("");
            await page.getByLabel("What comes first").selectOption("energy");
            await page.getByRole("button", { name: "Try again" }).click();
            await answered(page);
            assert.equal(await answers(page).count(), 1);
        },
        { refusals: [503] },
    ));

test("an answer that breaks off says so", () =>
    withPage(async (page) => {
        await opened(page);
        await page.route("**/v1/chat/completions", (route) => route.fulfill(streamed(piece("Blue"))));
        await say(page, "Name a colour.");
        await answers(page).getByText("The answer broke off before its end.").waitFor();
        await answers(page).getByText("Blue").waitFor();
        await page.unroute("**/v1/chat/completions");
        const error = {
            error: { message: "The node that computed this failed.", type: "server_error", code: "node_failed" },
        };
        await page.route("**/v1/chat/completions", (route) => route.fulfill(streamed(piece("Blue"), error)));
        await page.getByRole("button", { name: "Try again" }).click();
        await answers(page).getByText("a node’s failure costs nothing").waitFor();
    }));

test("text from outside is text, whatever it says", () =>
    withPage(async (page) => {
        const evil = `<img src=x onerror="document.title='hacked'"><script>document.title='hacked'</script>`;
        const node = "01a217a0-ca2c-75fe-8bec-4ffb84c520e1";
        await page.route("**/v1/models", (route) =>
            route.fulfill({ json: { object: "list", data: [{ id: evil, kind: "text" }] } }),
        );
        await page.route("**/api/nodes", (route) => route.fulfill({ json: { data: [{ id: node, name: evil }] } }));
        const summary = { request: node, node, attempts: 2, outcome: "completed", completion_tokens: 1, cost: "0" };
        await page.route("**/v1/chat/completions", (route) =>
            route.fulfill(streamed(piece(evil), `: commonwatt ${JSON.stringify(summary)}`, "data: [DONE]")),
        );
        await signedIn(page, "playground");
        await page.getByRole("button", { name: "Make a key for this page" }).click();
        await page
            .locator(`option[value='${evil.replaceAll("'", "\\'")}']`)
            .first()
            .waitFor({ state: "attached" });
        await say(page, evil);
        await answers(page).getByText("after 2 tries").waitFor();
        assert.equal(await page.locator("main img, main script").count(), 0);
        assert.match(await answers(page).innerText(), /<img src=x[\s\S]*<img src=x[\s\S]*<img src=x/);
        assert.ok(!(await page.title()).includes("hacked"));
    }));

test("the programs that are shown are the request, and run", () =>
    withPage(async (page) => {
        await opened(page, { ...SHORT, "Most tokens": "5" });
        const said = `It's "5 o'clock" $HOME \\ – say so`;
        await message(page).fill(said);
        await page.getByText("The same from a program").click();
        const shown = () => page.locator(".playground-code code").innerText();
        const curl = await shown();
        assert.ok(!curl.includes("sk-cw-"), "no key is shown");
        const env = { ...process.env, COMMONWATT_KEY: API_KEY };
        const { stdout } = await run("bash", ["-c", curl.replace("curl", "curl -s")], { env, ...ANSWER });
        assert.match(stdout, /data: \[DONE\]/);

        await page.getByRole("radio", { name: "Python" }).check();
        const python = await shown();
        const strings = "[n.value for n in ast.walk(ast.parse(sys.argv[1])) if isinstance(n, ast.Constant)]";
        const read = await run("python3", ["-c", `import ast, json, sys; print(json.dumps(${strings}))`, python]);
        assert.ok(JSON.parse(read.stdout).includes(said), read.stdout);
    }));

test("the playground is for the keyboard, for screen readers and for phones", () =>
    withPage(
        async (page) => {
            await opened(page);
            await page.getByText("Where it may be computed").click();
            await page.getByText("The same from a program").click();
            await message(page).focus();
            await page.keyboard.type("Name a colour.");
            await page.keyboard.press("Shift+Enter");
            await page.keyboard.type("Only one.");
            await page.keyboard.press("Enter");
            const turn = await answered(page);
            assert.match(await turn.locator(".playground-asked").innerText(), /colour\.\nOnly/);
            await fits(page);
            await accessible(page);
        },
        { viewport: PHONE },
    ));

for (const [name, options] of Object.entries({ light: {}, dark: { dark: true }, phone: { viewport: PHONE } })) {
    test(`a picture of the playground: ${name}`, { skip: !process.env.SCREENSHOTS }, () =>
        withPage(async (page) => {
            await opened(page, { ...SHORT, "Most tokens": "40" });
            await say(page, "Why is the sky blue?");
            await answered(page);
            await loaded(page);
            if (name === "phone") await answers(page).scrollIntoViewIfNeeded();
            await picture(page, `playground-${name}`);
        }, options),
    );
}
