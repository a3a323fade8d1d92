/** One's own account: who is signed in, its members, another password, what was done in it. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { newUser } from "./operators.mjs";
import { GATEWAY_URL, PHONE, accessible, fits, loaded, picture, signedIn, withPage } from "./support.mjs";

const NEXT = "a password of one's own";
const current = (page) => page.getByLabel("Current password");

/** Fills the form and sends it. */
async function change(page, from, to, again = to) {
    await current(page).fill(from);
    await page.getByLabel("New password", { exact: true }).fill(to);
    await page.getByLabel("New password, once more").fill(again);
    await page.getByRole("button", { name: "Change the password" }).click();
}

/** Waits for the sentence beside a field, which has the focus. */
async function told(page, label, sentence) {
    await page.locator(".field.wrong").getByText(sentence).waitFor();
    const field = page.getByLabel(label, { exact: true });
    assert.equal(await field.getAttribute("aria-invalid"), "true", label);
    const id = await field.getAttribute("aria-describedby");
    assert.match(await page.locator(`[id="${id}"]`).textContent(), sentence);
    assert.ok(await field.evaluate((each) => document.activeElement === each), "it leads to the field");
}

function post(path, body) {
    const headers = { "content-type": "application/json" };
    return fetch(GATEWAY_URL + path, { method: "POST", headers, body: JSON.stringify(body) });
}

test("everybody finds their account under their name, with its members and what was done in it alone", () =>
    withPage(async (page) => {
        const ana = await newUser("Ana");
        await newUser("Bob");
        await signedIn(page, "overview", ana);
        await page.getByRole("link", { name: "Account" }).focus();
        await page.keyboard.press("Enter");
        await page.getByText(`You are signed in as Ana, ${ana.email}.`).waitFor();
        assert.equal(await page.getByRole("link", { name: "Account" }).getAttribute("aria-current"), "page");
        await page.getByRole("region", { name: "Your account" }).getByText(ana.account).waitFor();
        await page.getByRole("row", { name: `Ana ${ana.email} owner` }).waitFor();
        await page.getByRole("row", { name: new RegExp(`${ana.email} POST /api/sessions done`) }).waitFor();
        assert.equal(await page.getByText("POST /api/users").count(), 0, "that was another account's act");
        assert.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
    }));

test("a password is changed, other sessions end, and this one goes on", () =>
    withPage(async (page) => {
        const ana = await newUser("Ana");
        const other = await (await post("/api/sessions", { email: ana.email, password: ana.password })).json();
        await signedIn(page, "account", ana);
        await change(page, ana.password, NEXT);
        await page.getByText("Other sessions have ended.").waitFor();
        await accessible(page);
        assert.equal(await current(page).inputValue(), "");
        assert.ok(!(await page.content()).includes(NEXT), "the password is in the page");
        assert.equal((await post("/api/sessions/refresh", { refresh_token: other.refresh_token })).status, 401);
        await page.reload();
        await loaded(page);
        await page.getByRole("row", { name: /PUT \/api\/me\/password done \(204\)/ }).waitFor();
        await page.getByRole("button", { name: "Sign out" }).click();
        await signedIn(page, "account", { ...ana, password: NEXT });
    }));

test("wrong and missing passwords are answered beside their fields", () =>
    withPage(
        async (page) => {
            const ana = await newUser("Ana");
            await signedIn(page, "account", ana);
            await page.getByRole("button", { name: "Change the password" }).click();
            await told(page, "Current password", /Enter the password that you sign in with/);
            await change(page, ana.password, NEXT, `${NEXT}!`);
            await told(page, "New password, once more", /This is another one than before/);
            await change(page, "not the one", NEXT);
            await told(page, "Current password", /The current password is wrong/);
            await accessible(page);
            await change(page, ana.password, "short");
            await told(page, "New password", /A password has 8 to 256 characters/);
            await change(page, ana.password, NEXT);
            await page.getByText("Other sessions have ended.").waitFor();
            assert.equal(await page.locator(".field.wrong").count(), 0);
        },
        { refusals: [400, 403] },
    ));

test("who guesses the password too often is told how long to wait", () =>
    withPage(
        async (page) => {
            const ana = await newUser("Ana");
            await signedIn(page, "account", ana);
            for (let guess = 0; guess < 11; guess += 1) {
                const answered = page.waitForResponse("**/api/me/password");
                await change(page, `guess number ${guess}`, NEXT);
                await answered;
                await page.getByRole("button", { name: "Change the password", disabled: false }).waitFor();
            }
            await page.getByText("Too many tries.").waitFor();
            await page.getByText(/^[45]:\d\d left\.$/).waitFor();
        },
        { refusals: [403, 429] },
    ));

test("an administrator who must act at another address is told so, and finds no administration", () =>
    withPage(async (page) => {
        await page.route("**/api/me", async (route) => {
            const reply = await route.fetch();
            const json = { ...(await reply.json()), is_admin: false, administers_elsewhere: true };
            await route.fulfill({ response: reply, json });
        });
        await signedIn(page, "account");
        await page.getByText("Administrators of this gateway act at another address of it.").waitFor();
        assert.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
        await accessible(page);
    }));

test("a name is text and nothing else", () =>
    withPage(async (page) => {
        const name = '<img src=x onerror="window.struck=1">';
        await signedIn(page, "account", await newUser(name));
        await page.getByRole("heading", { name: "Members" }).waitFor();
        assert.ok((await page.getByText(name).count()) >= 3);
        assert.equal(await page.locator("img[src=x]").count(), 0);
        assert.equal(await page.evaluate(() => window.struck), undefined);
    }));

test("the account suits every screen", () =>
    withPage(async (page) => {
        await signedIn(page, "account");
        await accessible(page);
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "account-dark");
        await page.setViewportSize(PHONE);
        await loaded(page);
        await accessible(page);
        await fits(page);
        await page.getByRole("button", { name: "Menu" }).click();
        await page.getByRole("link", { name: "Account" }).click();
        assert.equal(await page.getByRole("button", { name: "Menu" }).getAttribute("aria-expanded"), "false");
    }));
