/** The list of nodes and the page of one, over the gateway's own node. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, joined, one, theNode } from "./operators.mjs";
import { PHONE, accessible, ask, fits, goTo, loaded, picture, signedIn, withPage } from "./support.mjs";

const HARMFUL = '<img src=x onerror="document.title=1">';

test("nodes stand under their region, with what they sell and how they are", () =>
    withPage(async (page) => {
        const node = await theNode();
        await signedIn(page, "nodes");
        const row = page.getByRole("row", { name: new RegExp(`^${node.name} `) });
        await row.getByText(node.offer.models[0].manifest.name).waitFor();
        await row.getByText("0.1 in, 0.025 cached, 0.4 out").waitFor();
        await row.getByText(/tokens\/s/).waitFor();
        await row.getByText(/^Energy tier [A-E]:/).waitFor({ state: "attached" });
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "nodes-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "nodes-dark");
    }));

test("a node is paused and resumed in the list", () =>
    withPage(async (page) => {
        const node = await theNode();
        await signedIn(page, "nodes");
        await page.getByRole("button", { name: `Pause ${node.name}` }).click();
        await page.getByRole("button", { name: `Resume ${node.name}` }).waitFor();
        assert.equal((await one(node.id)).paused, true);
        await page.getByRole("button", { name: `Resume ${node.name}` }).click();
        await page.getByRole("button", { name: `Pause ${node.name}` }).waitFor();
        assert.equal((await one(node.id)).paused, false);
    }));

test("a node's page says why it gets work, and where its joules went", () =>
    withPage(async (page) => {
        const node = await theNode();
        await signedIn(page, `nodes/${node.id}`);
        await page.getByRole("heading", { name: node.name, level: 1 }).waitFor();
        await page.getByText("Requests that it got").waitFor();
        const bar = page.getByRole("img", { name: /^Energy of the last 24 hours\. Requests: .* Idle time: .* Other programs: / });
        await bar.waitFor();
        assert.equal(await bar.locator("rect").count(), 3);
        await page.getByText("In all").waitFor();
        await accessible(page);
        await page.emulateMedia({ colorScheme: "light" });
        await picture(page, "node-light");
        await page.emulateMedia({ colorScheme: "dark" });
        await picture(page, "node-dark");
    }));

test("a node is renamed, and a name that is no name is refused beside the field", () =>
    withPage(
        async (page) => {
            const id = await joined("a name for a test");
            await signedIn(page, `nodes/${id}`);
            await page.getByText("The node is not connected").waitFor();
            await page.getByRole("button", { name: "Rename", exact: true }).click();
            const dialog = page.getByRole("dialog", { name: "Rename the node" });
            await dialog.getByLabel("Name").fill("   ");
            await dialog.getByRole("button", { name: "Rename" }).click();
            await dialog.getByText("A name has 1 to 100 characters").waitFor();
            await dialog.getByLabel("Name").fill(HARMFUL);
            await dialog.getByRole("button", { name: "Rename" }).click();
            await page.getByRole("heading", { name: HARMFUL, level: 1 }).waitFor();
            await goTo(page, "nodes");
            await page.getByRole("link", { name: HARMFUL }).first().waitFor();
            assert.equal(await page.locator("main img").count(), 0, "a name is a text and nothing else");
            await ask("DELETE", `/api/nodes/${id}`, { bearer: ADMIN_TOKEN });
        },
        { refusals: [400] },
    ));

test("maintenance is planned and called off", () =>
    withPage(
        async (page) => {
            const node = await theNode();
            await signedIn(page, `nodes/${node.id}`);
            const card = page.getByRole("region", { name: "Maintenance" });
            await card.getByText("None is planned.").waitFor();
            await card.getByLabel("From").fill("2027-01-31T10:00");
            await card.getByLabel("Until").fill("2027-01-31T09:00");
            await card.getByRole("button", { name: "Plan maintenance" }).click();
            await card.getByText("`until` comes after `from`.").waitFor();
            const soon = new Date(Date.now() + 7 * 86_400_000).toISOString().slice(0, 10);
            await card.getByLabel("From").fill(`${soon}T10:00`);
            await card.getByLabel("Until").fill(`${soon}T12:00`);
            await card.getByRole("button", { name: "Plan maintenance" }).click();
            await card.getByRole("button", { name: "Call off" }).click();
            await card.getByText("None is planned.").waitFor();
        },
        { refusals: [400] },
    ));

test("a price is set, for later", () =>
    withPage(async (page) => {
        const node = await theNode();
        await signedIn(page, `nodes/${node.id}`);
        await page.getByRole("button", { name: "Set a price" }).click();
        const dialog = page.getByRole("dialog", { name: "Set a price" });
        await dialog.getByLabel("A token of the answer, nanocredits").fill("425");
        await dialog.getByText("0.425 credits for a million").waitFor();
        const soon = new Date(Date.now() + 300 * 86_400_000).toISOString().slice(0, 10);
        await dialog.getByLabel(/^From/).fill(`${soon}T00:00`);
        await dialog.getByRole("button", { name: "Set the price" }).click();
        await dialog.waitFor({ state: "detached" });
        await page.getByRole("row", { name: /425 ?0\.425.*set here/ }).first().waitFor();
    }));

test("before a node is removed, it is named; who thinks again keeps it", () =>
    withPage(async (page) => {
        const id = await joined("a node to remove");
        await signedIn(page, `nodes/${id}`);
        const dialog = page.getByRole("dialog", { name: "Remove a node to remove?" });
        await page.getByRole("button", { name: "Remove", exact: true }).click();
        await dialog.getByRole("button", { name: "Remove a node to remove" }).waitFor();
        await accessible(page);
        await page.keyboard.press("Escape");
        await dialog.waitFor({ state: "detached" });
        assert.equal((await one(id)).id, id);
        await page.getByRole("button", { name: "Remove", exact: true }).click();
        await dialog.getByRole("button", { name: "Remove a node to remove" }).click();
        await page.getByRole("heading", { name: "Nodes", level: 1 }).waitFor();
        await assert.rejects(one(id), /404/);
    }));

test("a node that there isn't has a page that says so", () =>
    withPage(
        async (page) => {
            await signedIn(page, "nodes/01a217a0-0000-7000-8000-000000000000");
            await page.getByText("There is no such node in your account.").waitFor();
            await goTo(page, "nodes/%2e%2e%2fkeys");
            await page.getByRole("alert").waitFor();
        },
        { refusals: [400, 404] },
    ));

test("nodes fit a phone", () =>
    withPage(
        async (page) => {
            const node = await theNode();
            await signedIn(page, "nodes");
            await page.getByRole("link", { name: node.name }).waitFor();
            await fits(page);
            await picture(page, "nodes-phone");
            await page.getByRole("link", { name: node.name }).click();
            await page.getByText("Requests that it got").waitFor();
            await loaded(page);
            await fits(page);
            await picture(page, "node-phone");
        },
        { viewport: PHONE },
    ));
