/**
 * What the pages' tests share: one browser, pages that watch for errors, a signed-in page, and axe.
 *
 * CONSOLE_URL is the console's address, EMAIL and PASSWORD whose sign-in is used, API_KEY and MODEL what is asked.
 */
import assert from "node:assert/strict";
import { after, before } from "node:test";

import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

export const { CONSOLE_URL, EMAIL, PASSWORD, API_KEY, ADMIN_TOKEN, MODEL } = process.env;
export const GATEWAY_URL = new URL("/", CONSOLE_URL).href.slice(0, -1);
export const PHONE = { width: 360, height: 740 };
export const DESK = { width: 1280, height: 860 };

const PATIENCE = 15_000;
const SERIOUS = ["serious", "critical"];

let browser;
before(async () => {
    browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    });
});
after(() => browser?.close());

/**
 * Runs `story` with a page of a fresh browser context, and fails on any error of the browser's console, on any break of
 * the content security policy, and on an uncaught error.
 *
 * @param {(page: import("playwright-core").Page) => Promise<void>} story
 * @param {{ viewport?: object, dark?: boolean, refusals?: number[] }} options `refusals`: statuses that the story provokes.
 */
export async function withPage(story, { viewport = DESK, dark = false, refusals = [], ...rest } = {}) {
    const context = await browser.newContext({
        viewport,
        colorScheme: dark ? "dark" : "light",
        reducedMotion: "reduce",
        permissions: ["clipboard-read", "clipboard-write"],
        ...rest,
    });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const errors = watch(page, refusals);
    try {
        await story(page);
        assert.deepEqual(errors, [], "the browser reported errors");
    } finally {
        await context.close();
    }
}

/** Collects what goes wrong in the browser. */
function watch(page, refusals) {
    const errors = [];
    const expected = new RegExp(`^Failed to load resource: .* status of (${refusals.join("|") || "none"})\\b`);
    page.on("console", (message) => {
        if (["error", "warning"].includes(message.type()) && !expected.test(message.text()))
            errors.push(message.text());
    });
    page.on("pageerror", (error) => errors.push(String(error)));
    return errors;
}

/** Signs in and goes to a page of the console, such as "keys" or "requests?model=x". */
export async function signedIn(page, to = "overview", { email = EMAIL, password = PASSWORD } = {}) {
    await page.goto(`${CONSOLE_URL}#/${to}`);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page
        .getByRole("navigation", { name: "Console" })
        .or(page.getByRole("button", { name: "Menu" }))
        .first()
        .waitFor();
    await loaded(page);
}

/** Goes to another page of the console without loading it anew. */
export async function goTo(page, to) {
    await page.evaluate((hash) => (location.hash = hash), `#/${to}`);
    await loaded(page);
}

/** Waits until nothing of the page is on its way any more. */
export async function loaded(page) {
    await page.locator(".shell main h1").first().waitFor();
    await page.waitForFunction(() => document.querySelector("main .busy") === null);
}

/** Fails when axe finds something serious in the page, in light and in dark. */
export async function accessible(page) {
    for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        const { violations } = await new AxeBuilder({ page }).analyze();
        const found = violations
            .filter(({ impact }) => SERIOUS.includes(impact))
            .map(
                ({ id, help, nodes }) =>
                    `${id}: ${help}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`,
            );
        assert.deepEqual(found, [], `axe in ${colorScheme}`);
    }
}

/** Fails when the page is wider than its window. */
export async function fits(page) {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(over <= 0, `the page is ${over} pixels wider than its window`);
}

/** A request to the gateway's API, past the console. Fails on a refusal. */
export async function ask(method, path, { bearer = API_KEY, body } = {}) {
    const response = await fetch(GATEWAY_URL + path, {
        method,
        headers: { authorization: `Bearer ${bearer}`, ...(body && { "content-type": "application/json" }) },
        body: body && JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
}

/** Lets the page take a picture of itself for the documentation, when SCREENSHOTS names a folder for them. */
export async function picture(page, name) {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    await page.screenshot({ path: `${folder}/${name}.png`, animations: "disabled", fullPage: false });
}

/** Asks `look` until it gives something, and gives that back. */
export async function eventually(what, look) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const found = await look();
        if (found) return found;
        assert.ok(Date.now() < deadline, `${what} did not come about`);
        await new Promise((later) => setTimeout(later, 100));
    }
}
