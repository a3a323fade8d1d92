/** What node and gateway have signed of a request. */
import { get, useLoaded } from "../api.js";
import { Busy, Button, Notice, Trouble } from "../components.js";
import { html } from "../html.js";
import { download } from "./request-csv.js";

const ALONE = {
    attached: "The gateway has signed it alone: the server that computed is attached to it, and signs nothing.",
    partner: "Another gateway has answered. Its own receipt is in this one, with the word of its node.",
    not_received: "The gateway has signed it alone: the node has sent no receipt in time.",
    contradicts: "The gateway has signed it alone: what the node says is not what the gateway has seen.",
};
const BOTH = "Node and gateway have both signed what was done and what it cost.";
const LOGGED = "It is in the public log, so nobody can take it back.";
const NOT_LOGGED = "It is on its way into the public log.";

/** Where the page that verifies looks for a receipt when it opens. */
const HANDED_OVER = "receipt";

/** @param {{ request: object, useAgain: function }} properties `useAgain` looks again while something is due. */
export function Receipt({ request, useAgain }) {
    const computed = request.attempts.some(({ prompt_tokens: prompt, microjoules }) => prompt > 0 || microjoules > 0);
    if (!computed) return html`<p class="empty">No node computed anything for it, so there is nothing to sign.</p>`;
    return html`<${Signed} id=${request.id} useAgain=${useAgain} />`;
}

function Signed({ id, useAgain }) {
    const receipt = useLoaded((signal) => get(`/api/requests/${id}/receipt`, null, { signal }), [id]);
    const full = receipt.value;
    const missing = receipt.problem?.status === 404;
    const due = missing && receipt.problem.retryAfter !== null;
    useAgain(due || (full && !full.proof), receipt);
    if (due || (!full && receipt.loading && !missing)) return html`<${Busy}>It is being signed …<//>`;
    if (missing) return html`<p class="empty">There is no receipt of it.</p>`;
    if (!full) return html`<${Trouble} problem=${receipt.problem} retry=${receipt.reload} />`;
    const { alone } = claims(full.receipt);
    const text = JSON.stringify(full, null, 2);
    return html`<p>${alone ? ALONE[alone] : BOTH} ${full.proof ? LOGGED : NOT_LOGGED}</p>
        ${alone === "contradicts" && html`<${Notice} kind="warning">Another node may serve you better.<//>`}
        <div class="actions">
            <${Button} onClick=${() => download(`${full.id}.json`, text, "application/json")}>Save it<//>
            <a class="button" href="/verify" onClick=${() => sessionStorage.setItem(HANDED_OVER, text)}>Verify it</a>
        </div>`;
}

/** What a compact JWS says. */
function claims(token) {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
}
