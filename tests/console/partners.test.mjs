/** Partners: another gateway is added, refused, netted with, and left. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ADMIN_TOKEN, GATEWAY_URL, accessible, fits, picture, signedIn, withPage } from "./support.mjs";

const { PARTNER_URL } = process.env;
const EMAIL = "partner@example.com";

/** An account for the partner. */
async function account() {
    const made = await fetch(`${GATEWAY_URL}/api/users`, {
        method: "POST",
        headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
        body: JSON.stringify({ email: EMAIL, name: "Partner" }),
    });
    assert.ok([201, 409].includes(made.status), await made.text());
}

test("a gateway becomes a partner, and stops being one", async () => {
    await account();
    await withPage(
        async (page) => {
            await signedIn(page, "administration?part=partners");
            await page.getByText("There is none yet.").waitFor();
            await page.getByRole("button", { name: "Add a partner" }).click();
            const dialog = page.getByRole("dialog", { name: "Add a partner" });
            await dialog.getByLabel("Name", { exact: true }).fill("The other");
            await dialog.getByLabel("URL").fill(GATEWAY_URL);
            await dialog.getByRole("button", { name: "Add it" }).click();
            await dialog.getByText("Choose an account of those found").waitFor();
            await dialog.getByRole("combobox", { name: "Its account here" }).fill(EMAIL);
            await dialog.getByRole("option", { name: EMAIL }).click();
            await dialog.getByRole("button", { name: "Add it" }).click();
            await dialog.getByText("That is this gateway itself.").waitFor();
            await accessible(page);
            await dialog.getByLabel("URL").fill(PARTNER_URL);
            await dialog.getByRole("button", { name: "Add it" }).click();
            await dialog.waitFor({ state: "detached" });

            const table = page.getByRole("table", { name: "Partners" });
            await table.getByText("buys here").waitFor();
            await picture(page, "partners-dark");
            await fits(page);
            await accessible(page);
            await page.getByRole("button", { name: "Nettings: The other" }).click();
            await page.getByText("Nothing was netted yet.").waitFor();
            await page.keyboard.press("Escape");
            await page.getByRole("button", { name: "End: The other" }).click();
            await page.getByRole("button", { name: "End with The other", exact: true }).click();
            await page.getByText("There is none yet.").waitFor();
        },
        { refusals: [400] },
    );
});
