/** Epochs: closed, with statements that everybody keeps, prints and verifies; what is paid after that; authors and claims. */
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ADMIN_TOKEN, me, newUser } from "./operators.mjs";
import { EMAIL, GATEWAY_URL, PHONE, accessible, ask, eventually, fits, goTo, picture, signedIn, withPage } from "./support.mjs";

const region = (page, name) => page.getByRole("region", { name, exact: true });
const row = (page, text) => page.getByRole("row").filter({ hasText: text });
const asAdmin = (path) => ask("GET", path, { bearer: ADMIN_TOKEN });
const shown = async (page, label) => (await page.locator(".figure", { hasText: label }).locator(".value").first().textContent()).replaceAll(",", "");
const plain = ({ credits }) => credits.replace("-", "−");

/** The newest statement of the administrator's nodes. */
async function statement() {
    const { account } = await me();
    const { data } = await asAdmin(`/api/statements?party=operator:${account}&limit=1`);
    return data[0];
}

/** Waits until what was asked last has its receipt in the log. */
async function logged() {
    const { data } = await asAdmin("/api/requests?limit=50");
    const { id } = data.find(({ completion_tokens: tokens }) => tokens > 0);
    // Until it is signed there is none, which is no error.
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    const receipt = async () => (await fetch(`${GATEWAY_URL}/api/requests/${id}/receipt`, { headers })).json();
    await eventually("the receipt in the log", async () => (await receipt()).proof);
}

/** A claim as an author signs it. */
function claim(key, claimed) {
    const part = (said) => Buffer.from(JSON.stringify(said)).toString("base64url");
    const signed = `${part({ alg: "EdDSA" })}.${part({ v: 1, ...claimed, at: Date.now() * 1000 })}`;
    return `${signed}.${sign(null, Buffer.from(signed), key).toString("base64url")}`;
}

const table = (text) => ({ name: "paid.csv", mimeType: "text/csv", buffer: Buffer.from(text) });

test("an author without a key is given to an account that is found by its address", () =>
    withPage(async (page) => {
        const { data } = await asAdmin("/api/authors");
        const author = data.find(({ key }) => key === null);
        await signedIn(page, "administration?part=authors");
        await row(page, author.name).getByRole("button", { name: "Give to an account" }).click();
        const dialog = page.getByRole("dialog", { name: `Whose is what ${author.name} earns?` });
        await dialog.getByRole("button", { name: "Give it" }).click();
        await dialog.locator(".field.wrong").getByText("Choose an account of those found").waitFor();
        await dialog.getByRole("combobox", { name: "Account" }).fill(EMAIL);
        await dialog.getByRole("option", { name: EMAIL }).waitFor();
        await accessible(page);
        await dialog.getByRole("option", { name: EMAIL }).click();
        await dialog.getByRole("button", { name: "Give it" }).click();
        await row(page, author.name).getByRole("button", { name: `Take back: ${author.name}` }).waitFor();
        await goTo(page, "account");
        await row(region(page, "What you are the author of"), author.name).getByText("an administrator's word").waitFor();
    }));

test("an author with a key claims with a signature; what is no claim is said beside the field", () =>
    withPage(
        async (page) => {
            const ana = await newUser("Ana");
            const { gateway } = await asAdmin("/api/authors?limit=1");
            const { publicKey, privateKey } = generateKeyPairSync("ed25519");
            const name = `Ada O'Hara ${process.hrtime.bigint()}`;
            const author = `${name} ed25519:${publicKey.export({ format: "jwk" }).x}`;
            await signedIn(page, "account", ana);
            await page.getByLabel("Author", { exact: true }).fill(author);
            const command = page.locator('code[aria-label="Copy the command"]');
            assert.equal(
                await command.textContent(),
                `commonwatt author claim --key author.key --author '${author.replace("'", `'\\''`)}' --gateway ${gateway} --account ${ana.account}`,
            );
            const field = page.getByLabel("Claim", { exact: true });
            const hand = async (text) => {
                await field.fill(text);
                await page.getByRole("button", { name: "Claim it" }).click();
            };
            await hand("nothing of the kind");
            await page.locator(".field.wrong").getByText("Give the line that the command prints").waitFor();
            await hand(claim(privateKey, { author, gateway, account: (await me()).account }));
            await page.locator(".field.wrong").getByText("The claim is for the account").waitFor();
            await accessible(page);
            await hand(claim(privateKey, { author, gateway, account: ana.account }));
            await page.getByText(`What ${name} earns is yours now.`).waitFor();
            await row(region(page, "What you are the author of"), name).getByText("a signature").waitFor();
            assert.equal(await field.inputValue(), "");
            await page.setViewportSize(PHONE);
            await fits(page);
        },
        { refusals: [400] },
    ));

test("an epoch is closed after a question, and says what the whole federation did", () =>
    withPage(async (page) => {
        await logged();
        await signedIn(page, "epochs");
        await page.getByRole("button", { name: "Close the epoch now …" }).click();
        await page.getByRole("dialog", { name: "Close the epoch now?" }).getByRole("button", { name: "Close it" }).click();
        const said = page.getByRole("status").filter({ hasText: "is closed" });
        const number = await said.getByRole("link").textContent();
        await region(page, "Closed epochs").getByRole("link", { name: `Epoch ${number}` }).waitFor();
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "epochs-light");
        await said.getByRole("link").click();
        await page.getByRole("heading", { name: `Epoch ${number}`, level: 1 }).waitFor();
        await region(page, "The whole federation").waitFor();
        const { data } = await asAdmin("/api/epochs?limit=1");
        const [{ totals, document }] = data;
        assert.equal(await shown(page, "Receipts"), String(totals.receipts));
        assert.equal(await shown(page, "Tokens of answers"), String(totals.completion_tokens));
        await page.getByRole("link", { name: document }).waitFor();
        await accessible(page);
        await region(page, "Everybody's statements").getByRole("link", { name: `Statement of epoch ${number}: Your nodes` }).click();
        await page.getByRole("heading", { name: `Statement of epoch ${number}` }).waitFor();
    }));

test("a statement is kept byte for byte as it was logged, as a table, and printed", () =>
    withPage(async (page) => {
        const { epoch, party, document, opening, closing } = await statement();
        await signedIn(page, `statement/${epoch}`);
        await page.getByText(party).first().waitFor();
        assert.equal(await shown(page, "Owed before"), plain(opening));
        assert.equal(await shown(page, "Owed after"), plain(closing));
        const saved = async (name) => {
            const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
            return readFileSync(await download.path());
        };
        const bytes = await saved("Save as JSON");
        assert.equal(createHash("sha256").update(bytes).digest("hex"), document);
        assert.equal(await (await fetch(`${GATEWAY_URL}/log/document/${document}`)).text(), bytes.toString());
        assert.match((await saved("Save as CSV")).toString(), /^model,day,tier,receipts,/);
        await accessible(page);
        await page.emulateMedia({ colorScheme: "dark", media: "print" });
        for (const hidden of ["navigation", "button"]) assert.equal(await page.getByRole(hidden).filter({ visible: true }).count(), 0, hidden);
        assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor), "rgb(255, 255, 255)");
        await page.emulateMedia({ colorScheme: "light", media: "screen" });
        await picture(page, "statement-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "statement-dark");
        await page.setViewportSize(PHONE);
        await fits(page);
        await picture(page, "statement-phone");
        for (const page_ of ["epochs", `epochs/${epoch}`]) {
            await goTo(page, page_);
            await fits(page);
        }
    }));

test("who earns sees statements and payouts, and says where to be paid", () =>
    withPage(
        async (page) => {
            const { epoch } = await statement();
            await signedIn(page, "operator");
            await region(page, "Statements").getByRole("link", { name: `Statement of epoch ${epoch}: Your nodes` }).waitFor();
            const payouts = region(page, "Payouts");
            await payouts.getByText("Something is due to you, and nobody knows where to pay it.").waitFor();
            await payouts.getByLabel("Destination").fill(" ");
            await payouts.getByRole("button", { name: "Set it" }).click();
            await payouts.locator(".field.wrong").getByText("Say where you are paid").waitFor();
            await payouts.getByLabel("Destination").fill("a\u0007b");
            await payouts.getByRole("button", { name: "Set it" }).click();
            await payouts.locator(".field.wrong").getByText("no control characters").waitFor();
            await payouts.getByLabel("Destination").fill("DE89 3704 0044 0532 0130 00");
            await payouts.getByRole("button", { name: "Set it" }).click();
            await payouts.getByText("You are paid there from now on.").waitFor();
            await payouts.getByText("nobody knows where").waitFor({ state: "detached" });
        },
        { refusals: [400] },
    ));

test("a payout is held and released, another one is cancelled, and its author's earnings are nobody's again", () =>
    withPage(async (page) => {
        const { epoch } = await statement();
        await signedIn(page, "administration?part=payouts");
        const own = row(page, "Your nodes").filter({ hasText: "DE89 3704" });
        const dialog = page.getByRole("dialog");
        await own.getByRole("button", { name: `Hold: Your nodes, epoch ${epoch}` }).click();
        await dialog.getByRole("button", { name: "Hold it" }).click();
        await dialog.locator(".field.wrong").getByText("Say why: whom it is for reads it.").waitFor();
        await dialog.getByLabel("Why").fill("a question about it");
        await accessible(page);
        await dialog.getByRole("button", { name: "Hold it" }).click();
        await own.waitFor({ state: "detached" });
        await page.getByRole("radio", { name: "Held" }).check();
        await own.getByText("a question about it").waitFor();
        await own.getByRole("button", { name: "Release" }).click();
        await own.waitFor({ state: "detached" });
        await page.getByRole("radio", { name: "Due" }).check();
        await own.waitFor();
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "payouts-light");
        await row(page, "Author").getByRole("button", { name: "Cancel" }).first().click();
        await dialog.getByLabel("Why").fill("asked for");
        await dialog.getByRole("button", { name: "Cancel it" }).click();
        await row(page, "Author").first().waitFor({ state: "detached" });
        await page.getByRole("radio", { name: "All" }).check();
        await row(page, "cancelled").getByText("asked for").waitFor();
        await goTo(page, "administration?part=authors");
        await page.getByRole("button", { name: "Take back" }).click();
        await page.getByRole("button", { name: "Take back" }).waitFor({ state: "detached" });
    }));

test("what is due is taken along as a table, and what was paid comes back as one, whole or not at all", () =>
    withPage(
        async (page) => {
            const { account } = await me();
            const { data } = await asAdmin(`/api/payouts?state=due&account=${account}`);
            const { id } = data[0];
            await signedIn(page, "administration?part=payouts");
            const [download] = await Promise.all([
                page.waitForEvent("download"),
                page.getByRole("button", { name: "Save what is due as CSV" }).click(),
            ]);
            assert.match(readFileSync(await download.path(), "utf8"), new RegExp(`^id,epoch,party,account,destination,[^]*${id}`));
            const take = page.getByRole("button", { name: "Take it up" });
            const file = page.getByLabel("Table of what was paid");
            await take.click();
            await page.getByText("Choose the table first.").waitFor();
            await file.setInputFiles(table(`id,reference\n${id},bank 7\nnobody,bank 8\n${id},\n`));
            await take.click();
            await page.getByRole("alert").getByRole("listitem").filter({ hasText: /^Line 3: / }).waitFor();
            await page.getByRole("alert").getByRole("listitem").filter({ hasText: /^Line 4: / }).waitFor();
            assert.equal((await asAdmin(`/api/payouts?state=due&account=${account}`)).data.length, data.length, "nothing was taken up");
            for (const said of ["1 payout paid now.", "0 payouts paid now, and 1 payout before."]) {
                await file.setInputFiles(table(`id,reference\n${id},bank 7\n`));
                await take.click();
                await page.getByText(said).waitFor();
            }
            await page.getByRole("radio", { name: "Paid" }).check();
            await row(page, "bank 7").waitFor();
            await page.setViewportSize(PHONE);
            await fits(page);
            await goTo(page, "operator");
            await row(region(page, "Payouts"), "bank 7").waitFor();
            await fits(page);
        },
        { refusals: [422] },
    ));

test("who is no administrator closes nothing, and sees no statement but their own", () =>
    withPage(
        async (page) => {
            const { epoch } = await statement();
            await signedIn(page, `epochs/${epoch}`, await newUser("Ana"));
            await page.getByText("Nothing of it is yours.").waitFor();
            await goTo(page, "epochs");
            await page.getByRole("link", { name: `Epoch ${epoch}` }).waitFor();
            assert.equal(await page.getByRole("button", { name: /Close the epoch/ }).count(), 0);
            for (const nowhere of [`statement/${epoch}?party=gateway`, "statement/99999", "statement/..%2F..%2Fkeys", "statement"]) {
                await goTo(page, nowhere);
                await page.getByText("There is no such statement, or it isn't yours to see.").waitFor();
            }
            await goTo(page, "epochs/99999");
            await page.getByText("There is no such epoch, or it isn't closed yet.").waitFor();
            await accessible(page);
        },
        { refusals: [403, 404] },
    ));
