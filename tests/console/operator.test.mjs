/** The operator's page: a token, the lines to run, live work, earnings. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, theNode } from "./operators.mjs";
import { CONSOLE_URL, GATEWAY_URL, PHONE, accessible, ask, fits, picture, signedIn, withPage } from "./support.mjs";

test("a token is made and shown once, in lines that are ready to run", () =>
    withPage(async (page) => {
        await signedIn(page, "operator");
        await page.getByLabel("Zone of the grid").fill("de");
        await page.getByLabel("Price").fill("100,25,400");
        await page.getByLabel(/^My word/).check();
        await page.getByRole("button", { name: "Make a token" }).click();
        await page.getByText("The token is shown this once.").waitFor();
        const line = (label) => page.locator(`code[aria-label="${label}"]`).textContent();
        const docker = await line("Copy the Docker line");
        assert.match(docker, new RegExp(`^docker run -d --name node .* --network host \\\\\\n.*--read-only.*\\\\\\n.*-e COMMONWATT_GATEWAY=${GATEWAY_URL} `));
        assert.match(docker, /-e COMMONWATT_TOKEN=enrol-cw-\S+ -e COMMONWATT_ZONE=DE -e COMMONWATT_PRICE=100,25,400 -e COMMONWATT_DATA_COLLECTION=deny commonwatt-node$/);
        const bare = await line("Copy the line");
        assert.match(bare, /^commonwatt-node serve --gateway \S+ --token enrol-cw-\S+ --zone DE --price 100,25,400 --data-collection deny$/);
        await page.getByRole("button", { name: "Copy the line" }).click();
        await page.getByRole("button", { name: "Copied ✓" }).waitFor();
        assert.equal(await page.evaluate(() => navigator.clipboard.readText()), bare);
        await page.reload();
        await page.getByRole("button", { name: "Make a token" }).waitFor();
        assert.equal(await page.getByText("enrol-cw-").count(), 0, "it is gone");
    }));

test("what is no zone and no price is said beside the field, and never in a command", () =>
    withPage(async (page) => {
        await signedIn(page, "operator");
        await page.getByLabel("Zone of the grid").fill("DE; rm -rf /");
        await page.getByText("Give a country's two letters, such as DE").waitFor();
        await page.getByLabel("Price").fill("$(id)");
        await page.getByText("Give three whole numbers of nanocredits").waitFor();
        await page.getByRole("button", { name: "Make a token" }).click();
        await page.getByText("The token is shown this once.").waitFor();
        const commands = await page.locator("code[aria-label]").allTextContents();
        assert.equal(commands.length, 2);
        // A token is drawn by chance, and may have any letters in it.
        const fixed = commands.map((command) => command.replace(/enrol-cw-\w+/, ""));
        fixed.forEach((command) => assert.doesNotMatch(command, /rm|id\)/i));
    }));

test("work and earnings are those of the books", () =>
    withPage(async (page) => {
        const node = await theNode();
        await signedIn(page, "operator");
        const work = page.getByRole("region", { name: "What your nodes do now" });
        await work.getByRole("link", { name: node.name }).waitFor();
        const { earned } = await ask("GET", "/api/ledger/balance", { bearer: ADMIN_TOKEN });
        const earnings = page.getByRole("region", { name: "Earnings" });
        const shown = earnings.locator(".figure", { hasText: "Earned, and not paid out" }).locator(".value");
        assert.equal((await shown.textContent()).replaceAll(",", ""), earned.credits);
        await page.getByRole("region", { name: "Ledger" }).waitFor();
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "operator-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "operator-dark");
    }));

test("a day's earnings are those of its lines, in UTC, and payouts stand apart", () =>
    withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        const days = await page.evaluate(async () => {
            const { byDay } = await import("/console/pages/operator-earnings.js");
            const line = (kind, nanocredits, created_at) => ({ kind, nanocredits, created_at });
            const lines = [
                line("settlement", 5, "2026-11-25T23:59:59Z"),
                line("settlement", 7, "2026-11-26T00:00:00Z"),
                line("adjustment", -2, "2026-11-26T10:00:00Z"),
                line("payout", -10, "2026-11-26T11:00:00Z"),
            ];
            const all = byDay(lines, Date.parse("2026-11-26T12:00:00Z"));
            return [all.length, ...all.slice(-2).map(({ day, earned, paidOut, requests }) => [day, Number(earned), Number(paidOut), requests])];
        });
        assert.deepEqual(days, [30, ["2026-11-25", 5, 0, 1], ["2026-11-26", 5, 10, 1]]);
    }));

test("operating a node fits a phone", () =>
    withPage(
        async (page) => {
            await signedIn(page, "operator");
            await page.getByRole("button", { name: "Make a token" }).click();
            await page.getByText("The token is shown this once.").waitFor();
            await page.getByText("Earned, and not paid out").waitFor();
            await fits(page);
            await picture(page, "operator-phone");
        },
        { viewport: PHONE },
    ));
