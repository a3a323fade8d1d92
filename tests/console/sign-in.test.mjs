/** Signing in and out, and what a session's end leaves in place. */
import assert from "node:assert/strict";
import { test } from "node:test";

import {
    CONSOLE_URL,
    EMAIL,
    PASSWORD,
    PHONE,
    accessible,
    fits,
    loaded,
    picture,
    signedIn,
    withPage,
} from "./support.mjs";

const password = (page) => page.getByLabel("Password");
const enter = (page) => page.getByRole("button", { name: "Sign in" }).click();

async function tryToSignIn(page, address, secret) {
    await page.getByLabel("E-mail address").fill(address);
    await password(page).fill(secret);
    await enter(page);
}

test("whoever signs in comes to where the address pointed, and signs out again", async () => {
    await withPage(async (page) => {
        await signedIn(page, "keys");
        assert.equal(await page.locator("h1").textContent(), "Keys");
        assert.equal(await page.title(), "Keys · Commonwatt");
        assert.equal(await page.getByRole("link", { name: "Keys", exact: true }).getAttribute("aria-current"), "page");
        await page.getByRole("button", { name: "Sign out" }).click();
        await password(page).waitFor();
        await page.reload();
        await password(page).waitFor();
        assert.match(page.url(), /#\/keys$/);
    });
});

test("no script can read the session, and a reload keeps it", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        const kept = await page.evaluate(() => [
            document.cookie,
            ...Object.values(localStorage),
            ...Object.values(sessionStorage),
        ]);
        assert.ok(!kept.some((text) => text.length > 20), `the browser keeps ${kept}`);
        const [cookie] = await page.context().cookies(new URL("/api/sessions", CONSOLE_URL).href);
        assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["commonwatt_session", true, "Strict"]);
        assert.deepEqual(await page.context().cookies(CONSOLE_URL), []);
        await page.reload();
        await loaded(page);
    });
});

test("two tabs that renew the session at the same time both keep it", async () => {
    await withPage(async (page) => {
        await signedIn(page);
        const other = await page.context().newPage();
        await other.goto(CONSOLE_URL);
        await loaded(other);
        for (let round = 0; round < 3; round += 1) {
            await Promise.all([page.reload(), other.reload()]);
            await Promise.all([loaded(page), loaded(other)]);
        }
    });
});

test("wrong and missing values are answered beside their field", async () => {
    await withPage(
        async (page) => {
            await page.goto(CONSOLE_URL);
            await enter(page);
            const address = page.getByLabel("E-mail address");
            assert.equal(await address.getAttribute("aria-invalid"), "true");
            const told = await address.evaluate(
                (field) => document.getElementById(field.getAttribute("aria-describedby")).textContent,
            );
            assert.match(told, /Enter the address/);
            await tryToSignIn(page, EMAIL, "a wrong password");
            await page.getByText("The address or the password is wrong.").waitFor();
            assert.equal(await password(page).getAttribute("aria-invalid"), "true");
            await accessible(page);
            await tryToSignIn(page, EMAIL, PASSWORD);
            await loaded(page);
        },
        { refusals: [401] },
    );
});

test("who guesses too often is told how long to wait", async () => {
    await withPage(
        async (page) => {
            await page.goto(CONSOLE_URL);
            const address = `guesser-${Date.now()}@example.com`;
            for (let guess = 0; guess < 11; guess += 1) {
                const answered = page.waitForResponse("**/api/sessions");
                await tryToSignIn(page, address, `guess number ${guess}`);
                await answered;
                await page.getByRole("button", { name: "Sign in", disabled: false }).waitFor();
            }
            await page.getByText("Too many tries.").waitFor();
            await page.getByText(/^[45]:\d\d left\.$/).waitFor();
        },
        { refusals: [401, 429] },
    );
});

test("a console left open for a day asks to sign in again, and goes on where one was", async () => {
    await withPage(
        async (page) => {
            await page.clock.install();
            await signedIn(page, "keys");
            await page.getByRole("button", { name: "Create key" }).click();
            await page.getByLabel("Name").fill("written before the session ended");
            await page.context().clearCookies();
            await page.clock.fastForward("24:00:00");
            await page.getByRole("dialog").getByRole("button", { name: "Create key" }).click();
            const again = page.getByRole("dialog", { name: "Sign in again" });
            await again.waitFor();
            await page.keyboard.press("Escape");
            assert.ok(await again.isVisible(), "nothing can be done without a session");
            assert.equal(await again.getByLabel("E-mail address").inputValue(), EMAIL);
            await password(page).fill(PASSWORD);
            await enter(page);
            await page
                .getByRole("dialog", { name: /written before the session ended/ })
                .getByText("Copy it now.")
                .waitFor();
            assert.equal(await again.count(), 0);
        },
        { refusals: [401] },
    );
});

test("a browser without JavaScript gets a sentence", async () => {
    await withPage(
        async (page) => {
            await page.goto(CONSOLE_URL);
            assert.match(await page.locator("p.noscript").textContent(), /The console needs JavaScript/);
            assert.ok(await page.locator("p.noscript").isVisible());
        },
        { javaScriptEnabled: false },
    );
});

test("the page of the sign-in suits every screen", async () => {
    await withPage(async (page) => {
        await page.goto(CONSOLE_URL);
        await password(page).waitFor();
        await accessible(page);
        await page.setViewportSize(PHONE);
        await fits(page);
        await picture(page, "sign-in-phone");
    });
});
