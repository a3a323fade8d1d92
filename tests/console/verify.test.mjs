/** Verifying a receipt, or a statement, in the browser: without signing in, and without a network once the page is there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { GATEWAY_URL, PHONE, accessible, fits, picture, withPage } from "./support.mjs";

const path = (name) => `${process.env.RECEIPTS}/${name}`;
const finding = (page, title, word) =>
    page
        .getByRole("listitem")
        .filter({ has: page.getByRole("heading", { name: title, exact: true }) })
        .filter({ has: page.getByRole("img", { name: word, exact: true }) });
const verify = (page) => page.getByRole("button", { name: "Verify" }).click();

/** The page, with its verifier. */
async function open(page) {
    const loaded = page.waitForResponse("**/verifier.wasm");
    await page.goto(`${GATEWAY_URL}/verify`);
    await (await loaded).finished();
    await page.getByRole("heading", { name: "Verify a receipt or a statement" }).waitFor();
}

async function choose(page, label, name) {
    await page.getByLabel(`${label}: choose a file`).setInputFiles(path(name));
    await page.getByText(name, { exact: true }).waitFor();
}

/** Lets files fall on the page, as from a folder: those of a name, or with a text of their own. */
async function drop(page, given) {
    const files = given.map((file) => (file.text ? file : { name: file, text: readFileSync(path(file), "utf8") }));
    const transfer = await page.evaluateHandle((files) => {
        const transfer = new DataTransfer();
        for (const { name, text } of files) transfer.items.add(new File([text], name));
        return transfer;
    }, files);
    await page.locator("main").dispatchEvent("drop", { dataTransfer: transfer });
}

test("whatever a customer has is dropped on the page, and everything holds, without a network", async () => {
    await withPage(async (page) => {
        await open(page);
        const asked = [];
        page.on("request", (request) => asked.push(request.url()));
        await page.context().setOffline(true);
        await drop(page, ["paid.json", "keys.json", "policy.txt", "request.json", "answer.sse"]);
        await page.getByText("12 hold, 0 do not: this receipt holds.").waitFor();
        assert.match(await finding(page, "Cost", "holds").textContent(), /= 4200 nanocredits: 0\.0000042 credits\./);
        assert.match(await finding(page, "The log's witnesses", "holds").textContent(), /2 witnesses have seen it/);
        assert.deepEqual(asked, [], "nothing is uploaded");
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "verify-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "verify-dark");
        await page.setViewportSize(PHONE);
        await fits(page);
        await picture(page, "verify-phone");
    });
});

test("a receipt that was changed, and one that charges too much, are found out", async () => {
    await withPage(async (page) => {
        await open(page);
        await choose(page, "The gateway's keys", "keys.json");
        await choose(page, "Receipt", "forged.json");
        assert.match(await finding(page, "The gateway's signature", "does not hold").textContent(), /has not signed this/);
        await accessible(page);
        await page.getByRole("button", { name: "Remove forged.json" }).click();
        await choose(page, "Receipt", "overcharged.json");
        assert.match(await finding(page, "Cost", "does not hold").textContent(), /5200 nanocredits.* cost 4200/);
        await finding(page, "The gateway's signature", "holds").waitFor();
    });
});

test("a statement is verified with the receipts that it is made of, and takes the place of a receipt", async () => {
    await withPage(async (page) => {
        await open(page);
        await drop(page, ["paid.json"]);
        await finding(page, "Shares", "holds").waitFor();
        const files = ["statement.json", "statement.tlog-proof", "receipts.jws", "log/jwks.json", "log/policy"];
        await drop(page, files.map((name) => `../epochs/${name}`));
        await page.getByText("0 do not: this statement holds (operator:a, epoch 2).").waitFor();
        await finding(page, "Its lines", "holds").waitFor();
        assert.equal(await finding(page, "Shares", "holds").count(), 0);
        await accessible(page);
        await picture(page, "verify-statement");
        await page.setViewportSize(PHONE);
        await fits(page);
        const changed = readFileSync(path("../epochs/statement.json"), "utf8").replace(/"share":(\d)/, (_, digit) => `"share":${9 - digit}`);
        await drop(page, [{ name: "changed.json", text: changed }]);
        await page.getByText("this statement does not hold").waitFor();
        await finding(page, "What is owed", "does not hold").waitFor();
    });
});

test("a receipt is pasted and verified with the keyboard, and without keys nothing is proven", async () => {
    await withPage(async (page) => {
        await open(page);
        await page.getByLabel("Receipt", { exact: true }).focus();
        await page.keyboard.insertText(readFileSync(path("paid.jws"), "utf8"));
        await page.getByRole("button", { name: "Verify" }).focus();
        await page.keyboard.press("Enter");
        await page.getByText("who has signed this receipt is not known, so nothing is proven").waitFor();
        await finding(page, "The gateway's signature", "not checked").waitFor();
        await page.getByLabel("Receipt", { exact: true }).fill("nothing of the kind");
        await verify(page);
        await page.getByText("it is not three parts in base64url").first().waitFor();
        await accessible(page);
    });
});

test("what is missing and what is nothing of the kind is said", async () => {
    await withPage(async (page) => {
        await open(page);
        await verify(page);
        await page.getByText("Give a receipt or a statement first").first().waitFor();
        await drop(page, ["old.checkpoint"]);
        await page.getByText("old.checkpoint is none of these files by its looks").waitFor();
    });
});

test("a gateway's own keys and policy are taken with a click", async () => {
    await withPage(async (page) => {
        const serve = (name) => (route) => route.fulfill({ path: path(name), contentType: "text/plain" });
        await page.route("**/.well-known/jwks.json", serve("keys.json"));
        await page.route("**/log/policy", serve("policy.txt"));
        await open(page);
        await choose(page, "Receipt", "paid.json");
        await page.getByRole("button", { name: "The gateway's keys: take this gateway's" }).click();
        await page.getByText("/.well-known/jwks.json", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Log policy: take this gateway's" }).click();
        await page.getByText("this receipt holds.").waitFor();
    });
});

test("what the console hands over is verified at once, and is not kept", async () => {
    await withPage(async (page) => {
        await open(page);
        await page.evaluate((text) => sessionStorage.setItem("receipt", text), readFileSync(path("paid.json"), "utf8"));
        await page.reload();
        await finding(page, "Cost", "holds").waitFor();
        await page.getByRole("button", { name: "Remove the receipt from the console" }).click();
        await page.reload();
        await page.getByLabel("Receipt", { exact: true }).waitFor();
        assert.equal(await page.getByRole("listitem").count(), 0);
    });
});
