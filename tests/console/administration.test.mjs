/** What administrators set: credits, limits, aliases, shares, attached servers. Accounts have tests of their own. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, me } from "./operators.mjs";
import { MODEL, PHONE, accessible, ask, fits, goTo, picture, signedIn, withPage } from "./support.mjs";

const PARTS = ["Accounts", "Credits", "Limits", "Aliases", "Prices", "Shares", "Payouts", "Authors", "Attached servers", "Partners", "Audit log"];

test("who is no administrator finds no such page", () =>
    withPage(async (page) => {
        await page.route("**/api/me", async (route) => {
            const reply = await route.fetch();
            await route.fulfill({ response: reply, json: { ...(await reply.json()), is_admin: false } });
        });
        await signedIn(page);
        await page.evaluate(() => (location.hash = "#/administration"));
        await page.getByText("There is no such page.").waitFor();
        assert.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
    }));

test("every part shows what is set, without a serious finding", () =>
    withPage(async (page) => {
        await signedIn(page, "administration");
        for (const part of PARTS) {
            await page.getByRole("radio", { name: part }).check();
            await page.waitForFunction(() => document.querySelector("main .busy") === null);
            await accessible(page);
        }
        await goTo(page, "administration?part=credits");
        await page.getByText("Available").waitFor();
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "administration-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "administration-dark");
    }));

test("credits are topped up once, after a question", () =>
    withPage(async (page) => {
        const balance = async () => BigInt((await ask("GET", "/api/ledger/balance", { bearer: ADMIN_TOKEN })).balance.nanocredits);
        const before = await balance();
        await signedIn(page, "administration?part=credits");
        await page.getByRole("button", { name: "Post it …" }).click();
        await page.getByText("Give a decimal such as 12.5").waitFor();
        await page.getByText("Say why: it stands in the ledger.").waitFor();
        await page.getByLabel("Credits", { exact: true }).last().fill("1.5");
        await page.getByLabel("Why").fill("a test");
        await page.getByRole("button", { name: "Post it …" }).click();
        const dialog = page.getByRole("dialog", { name: "Top up: 1.5 credits?" });
        await dialog.getByRole("button", { name: "Post it" }).click();
        await page.getByText(/^Posted\. The ledger has it as /).waitFor();
        await page.getByRole("row", { name: /top up credits a test 1\.5/ }).first().waitFor();
        assert.ok((await balance()) >= before + 1_490_000_000n, "there is more, but for what requests took meanwhile");
    }));

test("limits of an account are set, and taken away; what is wrong is said beside the field", () =>
    withPage(
        async (page) => {
            const { account } = await me();
            await signedIn(page, "administration?part=limits");
            await page.getByLabel("Credits in a day").fill("lots");
            await page.getByRole("button", { name: "Set these limits" }).click();
            await page.getByText("`credits_per_day` is a decimal of credits").waitFor();
            await page.getByLabel("Credits in a day").fill("250");
            await page.getByLabel("Models").fill(`${MODEL}\nanother`);
            await page.getByRole("button", { name: "Set these limits" }).click();
            await page.getByText("These limits count from now on.").waitFor();
            const set = await ask("GET", `/api/limits/account/${account}`, { bearer: ADMIN_TOKEN });
            assert.deepEqual([set.limits.credits_per_day, set.limits.models], ["250", [MODEL, "another"]]);
            await page.getByLabel("Credits in a day").fill("");
            await page.getByLabel("Models").fill("");
            await page.getByRole("button", { name: "Set these limits" }).click();
            await page.getByText("These limits count from now on.").waitFor();
            const taken = await ask("GET", `/api/limits/account/${account}`, { bearer: ADMIN_TOKEN });
            assert.deepEqual([taken.limits.credits_per_day, taken.limits.models], [null, null]);
        },
        { refusals: [400] },
    ));

test("an id that is none is said beside the field, and one that nobody has by the gateway", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration?part=limits");
            const account = page.getByRole("combobox", { name: "Account" });
            await account.fill("ana@example.com");
            await page.getByRole("button", { name: "Show" }).click();
            await page.getByText("Choose an account of those found, or give the id, such as").waitFor();
            assert.equal(await account.getAttribute("aria-invalid"), "true");
            await account.fill("01a217a0-0000-7000-8000-000000000000");
            await page.getByRole("button", { name: "Show" }).click();
            await page.getByText("There is no user or account of this id.").waitFor();
        },
        { refusals: [404] },
    ));

test("an alias is set and removed", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration?part=aliases");
            await page.getByRole("textbox", { name: "Alias" }).fill("org/gpt-test");
            await page.getByRole("textbox", { name: "Model" }).fill("org/gpt-test");
            await page.getByRole("button", { name: "Set the alias" }).click();
            await page.locator(".field.wrong .error").waitFor();
            await page.getByRole("textbox", { name: "Model" }).fill(MODEL);
            await page.getByRole("button", { name: "Set the alias" }).click();
            await page.getByRole("row", { name: new RegExp(`^org/gpt-test ${MODEL}`) }).waitFor();
            await page.getByRole("button", { name: "Remove the alias org/gpt-test" }).click();
            await page.getByText("There is no alias.").waitFor();
        },
        { refusals: [400] },
    ));

test("shares that don't add up can't be sent", () =>
    withPage(async (page) => {
        await signedIn(page, "administration?part=splits");
        const add = page.getByRole("button", { name: "Add the version" });
        await page.getByText("The parts add up to 100 %.").waitFor();
        await page.getByLabel("The gateway, %").fill("8.5");
        await page.getByText("0.5 % too much").waitFor();
        assert.equal(await add.isDisabled(), true);
        await page.getByLabel("The node's operator, %").fill("84.5");
        await page.getByText("The parts add up to 100 %.").waitFor();
        assert.equal(await add.isDisabled(), false);
    }));

test("a server that can't be attached is refused with a sentence", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration?part=attached");
            await page.getByRole("button", { name: "Attach a server" }).click();
            const dialog = page.getByRole("dialog", { name: "Attach a server" });
            await dialog.getByLabel("Name", { exact: true }).fill("rack 7");
            await dialog.getByLabel("URL").fill("http://127.0.0.1:9/v1");
            await dialog.getByLabel("Model, as clients name it").fill("a-model");
            await dialog.getByRole("button", { name: "Attach it" }).click();
            await dialog.getByRole("alert").waitFor();
            await accessible(page);
        },
        { refusals: [400] },
    ));

test("administration fits a phone", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration");
            for (const part of PARTS) {
                await page.getByRole("radio", { name: part }).check();
                await page.waitForFunction(() => document.querySelector("main .busy") === null);
                await fits(page);
            }
            await page.getByRole("radio", { name: "Credits" }).check();
            await page.getByText("Available").waitFor();
            await picture(page, "administration-phone");
        },
        { viewport: PHONE },
    ));
