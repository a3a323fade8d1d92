/** A streamed chat with any model, and what each answer took. */
import { get, useLoaded } from "../api.js";
import { Button, Card, Choice, Copy, Field, Heading, Trouble } from "../components.js";
import { html, useEffect, useState } from "../html.js";
import { bodyOfDraft, ask, askAgain, change, clear, stop, useConversation } from "./playground-conversation.js";
import { mistakes, settingOf } from "./playground-body.js";
import { curl, python } from "./playground-code.js";
import { KeyEntry, KeyInUse } from "./playground-entry.js";
import { stay, useKey } from "./playground-key.js";
import { Settings } from "./playground-settings.js";
import { Turns } from "./playground-turns.js";
import { named, nodesKnown } from "./request-names.js";

export const title = "Playground";

export default function Playground({ me }) {
    const held = useKey(me);
    const talk = useConversation(me);
    const [wrong, setWrong] = useWrong(talk.turns);
    const models = useLoaded(() => modelsOf(held), [held?.key]);
    const nodes = useLoaded(nodesKnown);
    useEffect(stay, []);
    useEffect(() => chooseModel(talk.settings, models.value), [models.value]);

    const set = (changed) => {
        change({ settings: { ...talk.settings, ...changed } });
        setWrong((before) => without(before, Object.keys(changed)));
    };
    const may = (action) => {
        const found = mistakes(talk.settings);
        setWrong(found);
        if (Object.keys(found).length === 0) action();
    };
    const send = () =>
        may(() => {
            ask(held.key, talk.draft.trim());
            change({ draft: "" });
        });
    const known = nodes.value ?? [];
    const names = named(known);
    return html`<${Heading} title="Playground" about="Ask a model, and see what each answer took." />
        ${held ? html`<${KeyInUse} held=${held} />` : html`<${KeyEntry} me=${me} />`}
        ${held && models.problem && html`<${Trouble} problem=${models.problem} retry=${models.reload} />`}
        <div class="playground">
            <${Card}
                title="Conversation"
                actions=${talk.turns.length > 0 && html`<${Button} kind="quiet" onClick=${clear}>Clear<//>`}
            >
                <${Turns} turns=${talk.turns} names=${names} onAgain=${held && (() => may(() => askAgain(held.key)))} />
                <${Composer} talk=${talk} ready=${Boolean(held)} onSend=${send} />
            <//>
            <${Card} title="Settings">
                <${Settings}
                    settings=${talk.settings}
                    wrong=${wrong}
                    models=${held && models.value}
                    nodes=${known}
                    onChange=${set}
                />
            <//>
        </div>
        <${Code} talk=${talk} />`;
}

/** The settings that are wrong, as far as it is known: what the gateway has refused names one too. */
function useWrong(turns) {
    const [wrong, setWrong] = useState({});
    const failure = turns.at(-1)?.answer.failure;
    useEffect(() => {
        const setting = settingOf(failure?.field);
        if (setting) setWrong({ [setting]: failure.message });
    }, [failure]);
    return [wrong, setWrong];
}

function without(settings, names) {
    return Object.fromEntries(Object.entries(settings).filter(([name]) => !names.includes(name)));
}

/** Models that write text, as far as this key may ask them. */
async function modelsOf(held) {
    if (!held) return null;
    const { data } = await get("/v1/models", null, { bearer: held.key });
    return data.filter(({ kind = "text" }) => kind === "text");
}

function chooseModel(settings, models) {
    if (!models || models.some(({ id }) => id === settings.model)) return;
    change({ settings: { ...settings, model: models[0]?.id ?? "" } });
}

function Composer({ talk: { draft, turns }, ready, onSend }) {
    const running = turns.at(-1)?.answer.state === "running";
    const may = ready && !running && draft.trim() !== "";
    const submit = (event) => {
        event.preventDefault();
        if (may) onSend();
    };
    const pressed = (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
    };
    return html`<form class="playground-composer" onSubmit=${submit}>
        <${Field}
            label="Message"
            rows="3"
            hint=${ready ? "Enter sends, Shift and Enter begin a new line." : "Give a key above, or make one, to ask."}
            value=${draft}
            onInput=${(event) => change({ draft: event.target.value })}
            onKeyDown=${pressed}
        />
        ${
            running
                ? html`<${Button} kind="danger" onClick=${stop}>Stop<//>`
                : html`<${Button} kind="primary" type="submit" disabled=${!may}>Send<//>`
        }
    </form>`;
}

function Code({ talk }) {
    const [language, setLanguage] = useState("curl");
    const written = language === "curl" ? curl : python;
    const languages = [
        ["curl", "curl"],
        ["python", "Python"],
    ];
    return html`<details class="playground-code">
        <summary>The same from a program</summary>
        <${Choice} label="Language" value=${language} options=${languages} onChange=${setLanguage} />
        <${Copy} multiline text=${written(`${location.origin}/v1`, bodyOfDraft(talk))} label="Copy the program" />
        <p class="hint">Put a key into the environment as COMMONWATT_KEY first.</p>
    </details>`;
}
