/** Says which gateway is to be a partner, and which account here is its own. */
import { post } from "../api.js";
import { Button, Dialog, Field, Notice } from "../components.js";
import { html, useState } from "../html.js";
import { Picker } from "../picker.js";
import { accounts } from "./account-search.js";
import { wrongId } from "./administration-subject.js";
import { useAction } from "./node-actions.js";

const LONGEST = 60;
const EMPTY = { name: "", url: "", key: "" };

export function AddPartner({ onClose, onDone }) {
    const [form, setForm] = useState(EMPTY);
    const [chosen, setChosen] = useState(null);
    const [typed, setTyped] = useState(null);
    const [error, setError] = useState();
    const { run, busy, problem, clear } = useAction();
    const type = (event) => {
        const { name, value } = event.currentTarget;
        setForm({ ...form, [name]: value });
        clear();
    };
    const typeAccount = (text) => {
        setTyped(text);
        setError();
        clear();
    };
    const choose = (found) => {
        setChosen(found);
        typeAccount(null);
    };
    const submit = async (event) => {
        event.preventDefault();
        const account = typed === null ? chosen?.id : typed.trim().toLowerCase();
        const wrong = wrongId(account ?? "");
        setError(wrong && "Choose an account of those found, or give its id.");
        if (wrong) return;
        if (await run(() => post("/api/partners", { name: form.name, url: form.url, account, key: form.key || undefined }))) {
            onDone();
            onClose();
        }
    };
    const input = (name, label, more) => html`<${Field} label=${label} name=${name} value=${form[name]} onInput=${type} ...${more} />`;
    return html`<${Dialog} title="Add a partner" onClose=${onClose}>
        <form class="form picking" onSubmit=${submit}>
            ${input("name", "Name", { required: true, maxlength: 100, placeholder: "back.example" })}
            ${input("url", "URL", { type: "url", required: true, placeholder: "https://back.example" })}
            <${Picker}
                label="Its account here"
                placeholder="Name, address or id"
                maxlength=${LONGEST}
                chosen=${chosen ? `${chosen.name} (${chosen.detail})` : ""}
                typed=${typed}
                search=${accounts}
                error=${error}
                onType=${typeAccount}
                onChoose=${choose}
            />
            ${input("key", "Key that it has given us", {
                type: "password",
                autocomplete: "off",
                optional: true,
                hint: "With it, it answers our users. Left empty: it only buys here. Kept encrypted, never shown again.",
            })}
            ${problem && html`<${Notice} kind="error">${problem.message}<//>`}
            <div class="actions">
                <${Button} onClick=${onClose}>Cancel<//>
                <${Button} kind="primary" type="submit" busy=${busy}>Add it<//>
            </div>
        </form>
    <//>`;
}
