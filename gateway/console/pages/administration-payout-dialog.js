/** What is asked before a payout is held, cancelled or said to be paid. */
import { patch } from "../api.js";
import { Button, Dialog, Field, useFirstWrong } from "../components.js";
import { credits } from "../format.js";
import { html, useState } from "../html.js";
import { useAction } from "./node-actions.js";

const ASKED = {
    paid: {
        title: "Was it paid?",
        about: "It leaves the ledger with this. A payout that is paid stays so.",
        field: "reference",
        label: "Reference",
        hint: "Under which you find it in what you paid with, such as a transfer's number.",
        missing: "Give the reference, so that nobody pays it twice.",
        longest: 200,
        act: "It was paid",
        kind: "primary",
    },
    held: {
        title: "Hold it?",
        about: "Nobody is to pay it until it is released. Whom it is for sees why.",
        field: "reason",
        label: "Why",
        hint: "Such as a question that is not answered yet.",
        missing: "Say why: whom it is for reads it.",
        longest: 500,
        act: "Hold it",
        kind: "primary",
    },
    cancelled: {
        title: "Cancel it?",
        about: "It is never paid. What is still owed becomes due again when the next epoch is closed.",
        field: "reason",
        label: "Why",
        hint: "Whom it is for sees it.",
        missing: "Say why: whom it is for reads it.",
        longest: 500,
        act: "Cancel it",
        kind: "danger",
    },
};

/** @param {{ what: "paid" | "held" | "cancelled", payout: object, whose: string }} dialog */
export function PayoutDialog({ what, payout, whose, onClose, onDone }) {
    const { title, about, field, label, hint, missing, longest, act, kind } = ASKED[what];
    const [text, setText] = useState("");
    const [errors, setErrors] = useState({});
    const { run, busy, problem, clear } = useAction();
    const form = useFirstWrong(errors);
    const type = ({ currentTarget: { value } }) => {
        setText(value);
        setErrors({});
        clear();
    };
    const submit = async (event) => {
        event.preventDefault();
        if (text.trim() === "") return setErrors({ [field]: missing });
        if (await run(() => patch(`/api/payouts/${payout.id}`, { state: what, [field]: text.trim() }))) {
            onDone();
            onClose();
        }
    };
    return html`<${Dialog} title=${title} onClose=${onClose}>
        <p><strong>${credits(payout.nanocredits)} credits</strong> for ${whose}. ${about}</p>
        ${what === "paid" && payout.destination && html`<p>To <code>${payout.destination}</code></p>`}
        <form class="form" ref=${form} onSubmit=${submit} novalidate>
            <${Field}
                ...${{ label, hint }}
                autofocus
                autocomplete="off"
                maxlength=${longest}
                value=${text}
                onInput=${type}
                error=${errors[field] ?? problem?.message}
            />
            <div class="actions">
                <${Button} onClick=${onClose}>Leave it<//>
                <${Button} kind=${kind} type="submit" busy=${busy}>${act}<//>
            </div>
        </form>
    <//>`;
}
