/** The keys' page: made, shown once, changed, rotated, revoked. */
import assert from "node:assert/strict";
import { test } from "node:test";

import {
    ADMIN_TOKEN,
    MODEL,
    PHONE,
    accessible,
    ask,
    eventually,
    fits,
    goTo,
    loaded,
    picture,
    signedIn,
    withPage,
} from "./support.mjs";

const row = (page, name) => page.getByRole("row").filter({ hasText: name });
const dialog = (page) => page.getByRole("dialog").last();
const keys = async () => (await ask("GET", "/api/keys", { bearer: ADMIN_TOKEN })).data;
const unique = (name) => `${name} ${process.hrtime.bigint()}`;

/** Makes a key in the page and gives back its secret. */
async function create(page, name, fill = async () => {}) {
    await page.getByRole("button", { name: "Create key" }).click();
    await dialog(page).getByLabel("Name").fill(name);
    await fill(dialog(page));
    await dialog(page).getByRole("button", { name: "Create key" }).click();
    await page.getByText("Copy it now.").waitFor();
    const secret = await dialog(page).getByLabel("Copy the key").first().textContent();
    await dialog(page).getByRole("button", { name: "I have copied it" }).click();
    await row(page, name).waitFor();
    return secret;
}

const chat = (bearer, content = "Hello.") =>
    ask("POST", "/v1/chat/completions", {
        bearer,
        body: { model: MODEL, messages: [{ role: "user", content }], max_tokens: 2 },
    });

test("a key is made with limits, shown once, copied, and works", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        const name = unique("application");
        await page.getByRole("button", { name: "Create key" }).click();
        const form = dialog(page);
        await form.getByLabel("Name").fill(name);
        await form.getByText("Limits").click();
        await form.getByLabel("Requests per minute").fill("60");
        await form.getByLabel("Credits per day").fill("2.5");
        await form.getByRole("textbox", { name: "Models" }).fill(`${MODEL}\nanother-model`);
        await accessible(page);
        await form.getByRole("button", { name: "Create key" }).click();
        await page.getByText("Copy it now.").waitFor();
        await accessible(page);
        await dialog(page).getByRole("button", { name: "Copy the key" }).click();
        await dialog(page).getByText("Copied", { exact: true }).waitFor();
        const secret = await page.evaluate(() => navigator.clipboard.readText());
        await dialog(page).getByRole("button", { name: "I have copied it" }).click();
        await row(page, name).getByText("60 requests/min, 2.5 credits/day, 2 models").waitFor();
        assert.ok(!(await page.content()).includes(secret), "the secret is still in the page");
        await chat(secret);
        const found = (await keys()).find((key) => key.name === name);
        assert.deepEqual(found.limits.models, [MODEL, "another-model"]);
    });
});

test("wrong values are answered beside their fields, by the page and by the gateway", async () => {
    await withPage(
        async (page) => {
            await signedIn(page, "keys");
            await page.getByRole("button", { name: "Create key" }).click();
            const form = dialog(page);
            await form.getByText("Limits").click();
            await form.getByLabel("Tokens per minute").fill("many");
            await form.getByLabel("Credits per month").fill("-1");
            const submit = () => form.getByRole("button", { name: "Create key" }).click();
            const told = async (label) => {
                const field = form.getByLabel(label);
                assert.equal(await field.getAttribute("aria-invalid"), "true", label);
                const id = (await field.getAttribute("aria-describedby")).split(" ").find((id) => id.endsWith("error"));
                return page.locator(`[id="${id}"]`).textContent();
            };
            await submit();
            assert.match(await told("Name"), /1 to 100 characters/);
            assert.match(await told("Tokens per minute"), /whole number/);
            assert.match(await told("Credits per month"), /decimal of credits/);
            await form.getByLabel("Name").fill(unique("refused"));
            await form.getByLabel("Tokens per minute").fill("");
            await form.getByLabel("Credits per month").fill("9999999999");
            await submit();
            await form.getByText("`credits_per_month` is a decimal").waitFor();
            assert.match(await told("Credits per month"), /credits_per_month/);
            await form.getByLabel("Credits per month").fill("");
            await form.getByLabel("Networks").fill("10.0.0.0/33");
            await submit();
            await form.getByText("neither an address nor a network").waitFor();
            assert.match(await told("Networks"), /10\.0\.0\.0\/33/);
        },
        { refusals: [400] },
    );
});

test("a key's name and limits are changed, and a limit is taken away", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        const name = unique("before");
        await create(page, name, async (form) => {
            await form.getByText("Limits").click();
            await form.getByLabel("Requests at the same time").fill("3");
        });
        await row(page, name)
            .getByRole("button", { name: /^Change / })
            .click();
        const form = dialog(page);
        assert.equal(await form.getByLabel("Requests at the same time").inputValue(), "3");
        await form.getByLabel("Requests at the same time").fill("");
        await form.getByLabel("Joules per day").fill("5000");
        const after = unique("after");
        await form.getByLabel("Name").fill(after);
        await form.getByRole("button", { name: "Save" }).click();
        await row(page, after).getByText("5,000 J/day").waitFor();
        const { limits } = (await keys()).find((key) => key.name === after);
        assert.deepEqual([limits.concurrent_requests, limits.joules_per_day], [null, 5000]);
    });
});

test("a rotated key has a successor that works beside it", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        const name = unique("rotated");
        const first = await create(page, name);
        await row(page, name)
            .getByRole("button", { name: /^Rotate / })
            .click();
        await dialog(page).getByLabel("The old key ends").selectOption({ label: "In a day" });
        await dialog(page).getByRole("button", { name: "Rotate key" }).click();
        await page.getByText("Copy it now.").waitFor();
        const second = await dialog(page).getByLabel("Copy the key").first().textContent();
        await dialog(page).getByRole("button", { name: "Close" }).click();
        assert.notEqual(first, second);
        await row(page, name).getByText("replaced").waitFor();
        await Promise.all([chat(first), chat(second)]);
    });
});

test("a key is revoked once its name was confirmed, and is found among those that ended", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        const name = unique("revoked");
        const secret = await create(page, name);
        await row(page, name)
            .getByRole("button", { name: /^Revoke / })
            .click();
        await dialog(page).getByRole("button", { name: "Keep it" }).click();
        await chat(secret);
        await row(page, name)
            .getByRole("button", { name: /^Revoke / })
            .click();
        await page
            .getByRole("dialog", { name: `Revoke “${name}”?` })
            .getByRole("button", { name: `Revoke ${name}` })
            .click();
        await row(page, name).waitFor({ state: "detached" });
        await page.getByRole("button", { name: /^Show \d+ that ended$/ }).click();
        await row(page, name).getByText("revoked", { exact: true }).waitFor();
        assert.match(page.url(), /#\/keys\?revoked=shown$/);
        await assert.rejects(chat(secret), /401/);
    });
});

test("a key's name is text and nothing else, wherever it stands", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        const name = `<img src=x onerror="window.struck=1"> ${process.hrtime.bigint()}`;
        const secret = await create(page, name);
        // Long enough to be among the keys that a chart tells apart.
        await chat(secret, "Hello. ".repeat(40));
        const { id } = (await keys()).find((key) => key.name === name);
        await eventually("the request's row", async () => {
            const { data } = await ask("GET", `/api/usage?key=${id}`, { bearer: ADMIN_TOKEN });
            return data.length > 0;
        });
        for (const place of ["keys", "overview?range=1h&by=key"]) {
            await goTo(page, place);
            await page.getByText(name).first().waitFor();
            assert.equal(await page.locator("img[src=x]").count(), 0);
        }
        assert.equal(await page.evaluate(() => window.struck), undefined);
    });
});

test("the keys suit every screen", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "keys-light");
        await page.setViewportSize(PHONE);
        await loaded(page);
        await accessible(page);
        await fits(page);
    });
});
