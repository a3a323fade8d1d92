/** How long each page takes from the click until it is filled. `MEASURED` names the file for the milliseconds. */
import { writeFile } from "node:fs/promises";
import { test } from "node:test";

import { goTo, signedIn, withPage } from "./support.mjs";

const TIMES = 20;
const PATIENCE_MILLISECONDS = 30_000;
const { MEASURED, NODE, REQUEST } = process.env;

/** Where each page is, and what is there when it is filled. */
const PAGES = {
    "overview?range=1h": ".figures",
    "overview?range=24h": "canvas",
    "overview?range=7d": "canvas",
    "overview?range=30d": "canvas",
    "overview?range=30d&by=key": "canvas",
    "overview?range=30d&by=node": "canvas",
    "overview?range=12mo": "canvas",
    requests: "tbody tr",
    "requests?outcome=gateway_failed": "table",
    "requests?model=hardly-ever-asked": "table",
    [`requests?id=${REQUEST}`]: ".request-total",
    nodes: "tbody tr",
    [`nodes?id=${NODE}`]: ".card",
    operator: "canvas",
    administration: "tbody tr",
    "administration?part=prices": "tbody tr",
    "administration?part=limits": "form",
    live: "canvas, .live",
};

test("every page is filled", async () => {
    const measured = Object.fromEntries(Object.keys(PAGES).map((name) => [name, []]));
    await withPage(
        async (page) => {
            await signedIn(page, "keys");
            for (let time = 0; time <= TIMES; time += 1) {
                for (const [name, sign] of Object.entries(PAGES)) {
                    await goTo(page, "keys");
                    const taken = await page.evaluate(filled, { hash: `#/${name}`, sign, patience: PATIENCE_MILLISECONDS });
                    // The first time the browser fetches the page's modules.
                    if (time > 0) measured[name].push(taken);
                }
            }
        },
        // Made-up requests have no receipts.
        { reducedMotion: "reduce", refusals: [404] },
    );
    await writeFile(MEASURED, JSON.stringify(measured));
});

/** In the browser: goes to a page, and says after how many milliseconds nothing of it is on its way any more. */
function filled({ hash, sign, patience }) {
    const begun = performance.now();
    location.hash = hash;
    const title = document.title;
    return new Promise((resolve, reject) => {
        const look = () => {
            if (performance.now() - begun > patience) return reject(new Error(`${hash} was not filled in time`));
            const main = document.querySelector("main");
            const moved = document.title !== title && main?.querySelector("h1");
            if (moved && main.querySelector(sign) && !main.querySelector(".busy")) resolve(performance.now() - begun);
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    });
}
