/** Accounts as administrators see them: found, given credits, chosen in other parts; new users; what was done. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, me, newUser } from "./operators.mjs";
import { EMAIL, PHONE, accessible, ask, fits, goTo, loaded, picture, signedIn, withPage } from "./support.mjs";

const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const dialog = (page) => page.getByRole("dialog").last();
const find = (page) => page.getByRole("searchbox", { name: "Find" });
const picker = (page) => page.getByRole("combobox", { name: "Account" });
const options = (page) => page.getByRole("listbox").getByRole("option");
const unique = (name) => `${name} ${process.hrtime.bigint()}`;

test("a user is made, the first password is shown once, and signs in", () =>
    withPage(async (page) => {
        await signedIn(page, "administration");
        const [name, email] = [unique("Ana"), `${process.hrtime.bigint()}@example.com`];
        await page.getByRole("button", { name: "New user" }).click();
        const form = page.getByRole("dialog", { name: "New user" });
        await accessible(page);
        await form.getByLabel("E-mail address").fill(email);
        await form.getByLabel("Name").fill(name);
        await form.getByRole("radio", { name: "Yes" }).check();
        await form.getByRole("button", { name: "Make the user" }).click();
        const shown = page.getByRole("dialog", { name: `The user “${name}”` });
        await shown.getByText("Copy it now.").waitFor();
        await accessible(page);
        await shown.getByRole("button", { name: "Copy the first password" }).click();
        await shown.getByText("Copied", { exact: true }).waitFor();
        const password = await page.evaluate(() => navigator.clipboard.readText());
        await shown.getByRole("button", { name: "I have copied it" }).click();
        await row(page, name).getByText("administrator").waitFor();
        assert.ok(!(await page.content()).includes(password), "the password is still in the page");
        await page.getByRole("button", { name: "Sign out" }).click();
        await signedIn(page, "administration", { email, password });
        await page.getByRole("heading", { name: "Accounts" }).waitFor();
    }));

test("wrong values of a new user are answered beside their fields, by the page and by the gateway", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration");
            await page.getByRole("button", { name: "New user" }).click();
            const [email, name] = [dialog(page).getByLabel("E-mail address"), dialog(page).getByLabel("Name")];
            const submit = () => dialog(page).getByRole("button", { name: "Make the user" }).click();
            const told = async (field, sentence) => {
                await dialog(page).getByText(sentence).waitFor();
                assert.equal(await field.getAttribute("aria-invalid"), "true");
                const id = (await field.getAttribute("aria-describedby")).split(" ").find((id) => id.endsWith("error"));
                assert.match(await page.locator(`[id="${id}"]`).textContent(), sentence);
                assert.ok(await field.evaluate((each) => document.activeElement === each), "it leads to the field");
            };
            await submit();
            await told(email, /Give an address to sign in with/);
            assert.equal(await name.getAttribute("aria-invalid"), "true");
            await email.fill(`${"a".repeat(260)}@example.com`);
            await name.fill("Ana");
            await submit();
            await told(email, /`email` is no e-mail address/);
            await email.fill(EMAIL.toUpperCase());
            await submit();
            await told(email, /There is a user with this address already/);
            await email.fill(`${process.hrtime.bigint()}@example.com`);
            await name.fill("a".repeat(101));
            await submit();
            await told(name, /A name has 1 to 100 characters/);
            await accessible(page);
        },
        { refusals: [400, 409] },
    ));

test("whoever has forgotten the password gets another one, shown once, and is signed out", () =>
    withPage(async (page) => {
        const ana = await newUser(unique("Ana"));
        const { refresh_token } = await ask("POST", "/api/sessions", { body: { email: ana.email, password: ana.password } });
        await signedIn(page, "administration");
        await row(page, ana.name).getByRole("button", { name: `New password for ${ana.name}` }).click();
        const question = page.getByRole("dialog", { name: `A new password for “${ana.name}”?` });
        await accessible(page);
        await question.getByRole("button", { name: "Make a new password" }).click();
        const shown = page.getByRole("dialog", { name: `The new password of “${ana.name}”` });
        await shown.getByText("Copy it now.").waitFor();
        await accessible(page);
        await shown.getByRole("button", { name: "Copy the password" }).click();
        await shown.getByText("Copied", { exact: true }).waitFor();
        const password = await page.evaluate(() => navigator.clipboard.readText());
        assert.notEqual(password, ana.password);
        await shown.getByRole("button", { name: "I have copied it" }).click();
        assert.ok(!(await page.content()).includes(password), "the password is still in the page");
        await assert.rejects(ask("POST", "/api/sessions/refresh", { body: { refresh_token } }), /401/);
        await assert.rejects(ask("POST", "/api/sessions", { body: { email: ana.email, password: ana.password } }), /401/);
        await page.getByRole("button", { name: "Sign out" }).click();
        await signedIn(page, "account", { ...ana, password });
    }));

test("administrators change their own password where they are asked for the present one", () =>
    withPage(async (page) => {
        const { id, name, email } = await me();
        await signedIn(page, "administration");
        await find(page).fill(email);
        await row(page, name).getByText(email).waitFor();
        assert.equal(await page.getByRole("button", { name: `New password for ${name}`, exact: true }).count(), 0);
        await assert.rejects(ask("POST", `/api/users/${id}/password`, { bearer: ADMIN_TOKEN }), /403 .*PUT \/api\/me\/password/);
    }));

test("accounts are found by a part of a name or of an address, in any case of letters", () =>
    withPage(async (page) => {
        const [ana, bob] = [await newUser(unique("Ana")), await newUser(unique("Bob"))];
        await signedIn(page, "administration");
        for (const text of [ana.name.toUpperCase(), ` ${ana.email.slice(0, -4)} `]) {
            await find(page).fill(text);
            await row(page, bob.name).waitFor({ state: "detached" });
            await row(page, ana.name).getByText(`${ana.email}, owner`).waitFor();
            await find(page).fill("");
            await row(page, bob.name).waitFor();
        }
        await find(page).fill(unique("nobody"));
        await page.getByText("No account fits.").waitFor();
    }));

test("more accounts than a page holds are a step away", () =>
    withPage(async (page) => {
        const [ana, bob] = [await newUser(unique("Ana")), await newUser(unique("Bob"))];
        await page.route("**/api/accounts?*", (route) =>
            route.continue({ url: route.request().url().replace("limit=50", "limit=1") }),
        );
        await signedIn(page, "administration");
        await row(page, bob.name).waitFor();
        await page.getByRole("button", { name: "Older →" }).click();
        await row(page, ana.name).waitFor();
        assert.equal(await row(page, bob.name).count(), 0);
        await page.getByRole("button", { name: "← Newer" }).click();
        await row(page, bob.name).waitFor();
        assert.ok(await page.getByRole("button", { name: "← Newer" }).isDisabled());
    }));

test("an account's credits and limits are a step away from it", () =>
    withPage(async (page) => {
        const ana = await newUser(unique("Ana"));
        await signedIn(page, "administration");
        await row(page, ana.name).getByRole("link", { name: "Limits" }).click();
        await page.waitForFunction((words) => document.activeElement.value === words, `${ana.name} (${ana.email})`);
        await page.getByLabel("Credits in a day").fill("2.5");
        await page.getByRole("button", { name: "Set these limits" }).click();
        await page.getByText("These limits count from now on.").waitFor();
        const { limits } = await ask("GET", `/api/limits/account/${ana.account}`, { bearer: ADMIN_TOKEN });
        assert.equal(limits.credits_per_day, "2.5");
        await goTo(page, "administration");
        await row(page, ana.name).getByRole("link", { name: "Give credits" }).click();
        await page.waitForFunction((words) => document.activeElement.value === words, `${ana.name} (${ana.email})`);
        await page.getByRole("textbox", { name: "Credits" }).fill("12.5");
        await page.getByLabel("Why").fill("welcome");
        await page.getByRole("button", { name: "Post it …" }).click();
        await dialog(page).getByText(`${ana.name} (${ana.email})`).waitFor();
        await dialog(page).getByRole("button", { name: "Post it" }).click();
        await page.getByText(/^Posted\./).waitFor();
        await goTo(page, "administration");
        await row(page, ana.name).getByText("12.5", { exact: true }).waitFor();
    }));

test("an account is chosen with the keyboard alone", () =>
    withPage(async (page) => {
        const [ana, bob] = [await newUser(unique("Ana")), await newUser(unique("Bob"))];
        await signedIn(page, "administration?part=credits");
        const { email } = await me();
        await page.waitForFunction((email) => document.querySelector("[role=combobox]").value.includes(email), email);
        await picker(page).focus();
        assert.equal(await picker(page).getAttribute("aria-expanded"), "false");
        await page.keyboard.press("ArrowDown");
        await options(page).first().waitFor();
        assert.equal(await picker(page).getAttribute("aria-expanded"), "true");
        await accessible(page);
        await page.keyboard.press("ArrowDown");
        await page.getByRole("option", { name: bob.name, selected: true }).waitFor();
        await page.keyboard.press("ArrowDown");
        const active = page.getByRole("option", { name: ana.name, selected: true });
        assert.equal(await picker(page).getAttribute("aria-activedescendant"), await active.getAttribute("id"));
        await page.keyboard.press("Escape");
        assert.equal(await page.getByRole("listbox").count(), 0);
        assert.match(await picker(page).inputValue(), new RegExp(email), "nothing was chosen");
        await page.keyboard.type(bob.email);
        await page.getByRole("status").filter({ hasText: "1 shown" }).waitFor();
        await page.keyboard.press("ArrowUp");
        await page.keyboard.press("Enter");
        assert.equal(await picker(page).inputValue(), `${bob.name} (${bob.email})`);
        await page.getByText("Nothing yet.").waitFor();
        await page.keyboard.type("nobody is called that");
        await page.getByRole("status").filter({ hasText: "Nothing fits." }).waitFor();
        await page.keyboard.press("Escape");
        await page.keyboard.press("Escape");
        assert.equal(await picker(page).inputValue(), `${bob.name} (${bob.email})`, "whoever was chosen stays");
    }));

test("a user is chosen with the mouse, and an account by its id, which then has a name", () =>
    withPage(async (page) => {
        const ana = await newUser(unique("Ana"));
        await signedIn(page, "administration?part=limits");
        await page.getByLabel("Of").selectOption("user");
        const user = page.getByRole("combobox", { name: "User" });
        await user.fill(ana.name);
        const asked = page.waitForResponse((response) => response.url().endsWith(`/api/limits/user/${ana.id}`));
        await page.getByRole("option", { name: ana.email }).click();
        assert.equal((await asked).status(), 200);
        assert.equal(await user.inputValue(), `${ana.name} (${ana.email})`);
        await page.getByLabel("Of").selectOption("account");
        await picker(page).fill(ana.account.toUpperCase());
        await page.keyboard.press("Enter");
        await page.waitForFunction(
            (words) => document.querySelector("[role=combobox]").value === words,
            `${ana.name} (${ana.email})`,
        );
        await page.getByRole("button", { name: "Set these limits" }).waitFor();
    }));

test("an address that names no account by its id leads to one's own", () =>
    withPage(async (page) => {
        const { account } = await me();
        const asked = [];
        page.on("request", (request) => asked.push(new URL(request.url()).pathname));
        await signedIn(page, `administration?part=limits&account=${encodeURIComponent("../../keys")}`);
        await page.getByRole("button", { name: "Set these limits" }).waitFor();
        assert.ok(asked.includes(`/api/limits/account/${account}`));
        assert.ok(!asked.includes("/api/keys"));
    }));

test("a name is text and nothing else, wherever it stands", () =>
    withPage(async (page) => {
        const name = `<img src=x onerror="window.struck=1"> ${process.hrtime.bigint()}`.slice(0, 100);
        await signedIn(page, "administration");
        await page.getByRole("button", { name: "New user" }).click();
        await dialog(page).getByLabel("E-mail address").fill(`"<b>"${process.hrtime.bigint()}@example.com`);
        await dialog(page).getByLabel("Name").fill(name);
        await dialog(page).getByRole("button", { name: "Make the user" }).click();
        await page.getByRole("dialog", { name: `The user “${name}”` }).waitFor();
        await page.getByRole("button", { name: "I have copied it" }).click();
        await row(page, name).getByRole("link", { name: "Give credits" }).click();
        await page.waitForFunction((name) => document.activeElement.value.startsWith(name), name);
        await page.keyboard.press("ArrowDown");
        await page.getByRole("option", { name }).waitFor();
        assert.equal(await page.locator("img[src=x], main b").count(), 0);
        assert.equal(await page.evaluate(() => window.struck), undefined);
    }));

test("the audit log says who did what, and what became of it", () =>
    withPage(
        async (page) => {
            await signedIn(page, "administration");
            await page.getByRole("button", { name: "New user" }).click();
            await dialog(page).getByLabel("E-mail address").fill(EMAIL);
            await dialog(page).getByLabel("Name").fill("Ana");
            await dialog(page).getByRole("button", { name: "Make the user" }).click();
            await page.getByText("There is a user with this address already.").waitFor();
            await page.keyboard.press("Escape");
            await page.getByRole("radio", { name: "Audit log" }).check();
            const refused = row(page, "POST /api/users").filter({ hasText: "refused (409)" }).first();
            await refused.getByText(EMAIL).waitFor();
            await refused.getByText("session").waitFor();
            await newUser(unique("Ana"));
            await page.getByRole("button", { name: "Refresh" }).click();
            await row(page, "POST /api/users").first().getByText("done (201)").waitFor();
            await row(page, "POST /api/users").first().getByText("key").waitFor();
        },
        { refusals: [409] },
    ));

test("acts at the command line and failures are told apart, and older ones are a step away", () =>
    withPage(async (page) => {
        const act = { id: "1", at: "2026-03-01T12:00:00Z", user: null, email: null, account: null, session: null, key: null };
        const acts = [
            { ...act, address: null, act: "admin grant", status: 0 },
            { ...act, id: "2", user: "u", email: "ana@example.com", address: "192.0.2.7", act: "PUT /api/me/password", status: 500 },
        ];
        await page.route("**/api/audit-log?*", (route) => {
            const older = new URL(route.request().url()).searchParams.get("before") === "1";
            return route.fulfill({ json: older ? { data: [acts[1]], next: null } : { data: [acts[0]], next: "1" } });
        });
        await signedIn(page, "administration?part=audit");
        await page.getByRole("row", { name: /command line admin grant done – –$/ }).waitFor();
        await page.getByRole("button", { name: "Older →" }).click();
        await page.getByRole("row", { name: /ana@example\.com PUT \/api\/me\/password failed \(500\) 192\.0\.2\.7 –$/ }).waitFor();
        assert.ok(await page.getByRole("button", { name: "Older →" }).isDisabled());
    }));

test("accounts suit every screen", () =>
    withPage(async (page) => {
        await signedIn(page, "administration");
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "accounts-light");
        await page.setViewportSize(PHONE);
        await loaded(page);
        await accessible(page);
        await fits(page);
        await goTo(page, "administration?part=credits");
        await picker(page).click();
        await options(page).first().waitFor();
        await accessible(page);
        await fits(page);
    }));
