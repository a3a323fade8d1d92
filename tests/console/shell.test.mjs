/** What stands around the pages: navigation, theme, addresses that lead nowhere. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { CONSOLE_URL, PHONE, accessible, fits, goTo, signedIn, withPage } from "./support.mjs";

test("everything is within reach of the keyboard", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
        await page.keyboard.press("Enter");
        assert.equal(await page.evaluate(() => document.activeElement.id), "main");
        await page.getByRole("link", { name: "Keys", exact: true }).focus();
        await page.keyboard.press("Enter");
        await page.waitForFunction(
            () => document.activeElement.tagName === "H1" && document.activeElement.textContent === "Keys",
        );
    });
});

test("on a phone the navigation opens, leads on and closes", async () => {
    await withPage(
        async (page) => {
            await signedIn(page);
            const menu = page.getByRole("button", { name: "Menu" });
            assert.equal(await menu.getAttribute("aria-expanded"), "false");
            await menu.click();
            await accessible(page);
            await page.keyboard.press("Escape");
            assert.equal(await menu.getAttribute("aria-expanded"), "false");
            await menu.click();
            await page.getByRole("link", { name: "Keys", exact: true }).click();
            await page.getByRole("heading", { name: "Keys", level: 1 }).waitFor();
            assert.equal(await menu.getAttribute("aria-expanded"), "false");
            await fits(page);
        },
        { viewport: PHONE },
    );
});

test("a theme that is chosen outlives the page, whatever the system says", async () => {
    await withPage(
        async (page) => {
            const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
            await signedIn(page);
            const dark = await ground();
            await page.getByLabel("Theme").selectOption("light");
            const light = await ground();
            assert.notEqual(light, dark);
            await page.reload();
            assert.equal(await ground(), light);
            await page.getByLabel("Theme").selectOption("system");
            assert.equal(await ground(), dark);
        },
        { dark: true },
    );
});

test("an address that leads nowhere says so, and one with nonsense in it breaks nothing", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        for (const nowhere of ["#/nowhere", "#/constructor", "#/%E0%A4%A", "#//"]) {
            await page.evaluate((hash) => (location.hash = hash), nowhere);
            await page
                .getByText("There is no such page.")
                .or(page.getByRole("heading", { name: "Overview" }))
                .first()
                .waitFor();
        }
        await goTo(page, "overview?range=%3Cscript%3E&by=__proto__");
        assert.equal(await page.getByLabel("7 days").isChecked(), true);
    });
});

test("the console's files come with their type, their policy and a tag", async () => {
    const response = await fetch(new URL("app.js", CONSOLE_URL));
    assert.equal(response.headers.get("content-type"), "text/javascript; charset=utf-8");
    assert.match(response.headers.get("content-security-policy"), /default-src 'none'; script-src 'self'/);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    const headers = { "if-none-match": response.headers.get("etag") };
    assert.equal((await fetch(new URL("app.js", CONSOLE_URL), { headers })).status, 304);
    assert.equal((await fetch(new URL("nothing.js", CONSOLE_URL))).status, 404);
});
