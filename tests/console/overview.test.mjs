/** The overview: figures, charts and their tables over time, told apart as one likes. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, MODEL, PHONE, accessible, ask, fits, picture, signedIn, withPage } from "./support.mjs";

const usage = async (query) => (await ask("GET", `/api/usage?${query}`, { bearer: ADMIN_TOKEN })).data;
const total = (rows, read) => rows.reduce((sum, row) => sum + read(row), 0);
const figure = (page, label) => page.locator(".figure").filter({ has: page.locator("dt", { hasText: label }) });

test("the figures are those of the gateway's books", async () => {
    await withPage(async (page) => {
        await signedIn(page, "overview?range=24h");
        await page.locator("canvas").first().waitFor();
        const shown = Number((await figure(page, "Requests").getAttribute("title")).replaceAll(",", ""));
        const booked = total(await usage("bucket=hour&group_by="), ({ requests }) => requests);
        assert.ok(shown > 0 && shown <= booked, `${shown} of ${booked}`);
        assert.match(await figure(page, "Cost").getAttribute("title"), /^\d+(\.\d{1,9})? credits$/);
        assert.match(await figure(page, "Energy").locator(".value").textContent(), /^[\d.,]+ (mJ|J|kJ|kWh)$/);
        assert.match(await figure(page, "Balance").textContent(), /credits/);
    });
});

test("range and grouping stand in the address, and the way back leads through them", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        await page.getByLabel("24 hours").check();
        await page.getByRole("heading", { name: "By model" }).waitFor();
        await page.getByLabel("By node").check();
        await page.getByRole("heading", { name: "By node" }).waitFor();
        assert.match(page.url(), /#\/overview\?range=24h&by=node$/);
        await page.reload();
        await page.getByRole("heading", { name: "By node" }).waitFor();
        await page.goBack();
        await page.getByRole("heading", { name: "By model" }).waitFor();
        assert.equal(await page.getByLabel("24 hours").isChecked(), true);
        await page.getByRole("link", { name: MODEL }).click();
        await page.waitForURL(/#\/requests\?model=/);
    });
});

test("every chart says the same as a table", async () => {
    await withPage(async (page) => {
        await signedIn(page, "overview?range=24h");
        const charts = page.locator("figure.chart");
        await charts.first().waitFor();
        assert.ok((await charts.count()) >= 4);
        const requests = page.getByRole("region", { name: "Requests" });
        await requests.getByText("As a table").click();
        const cells = await requests.locator("tbody td.numeric").allTextContents();
        assert.equal(cells.length, 24);
        const sum = cells.reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0);
        assert.ok(sum > 0);
        await requests.locator(".u-over").hover();
        assert.match(await requests.locator(".at").textContent(), /\d{4}/);
    });
});

test("every range can be looked at", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        for (const range of ["1 hour", "24 hours", "7 days", "30 days", "12 months"]) {
            await page.getByLabel(range, { exact: true }).check();
            await page.waitForFunction(() => document.querySelector("main .busy, main .notice.error") === null);
            await page
                .locator("canvas")
                .first()
                .or(page.getByText(/^No requests in/))
                .first()
                .waitFor();
        }
    });
});

test("the overview suits every screen", async () => {
    await withPage(async (page) => {
        await signedIn(page, "overview?range=24h");
        await page.locator("canvas").first().waitFor();
        await accessible(page);
        await picture(page, "overview-dark");
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "overview-light");
        await page.setViewportSize(PHONE);
        await fits(page);
        await accessible(page);
        await picture(page, "overview-phone");
    });
});
