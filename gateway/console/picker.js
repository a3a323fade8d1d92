/** A field that finds: what is typed is searched for, and one of those found is chosen, with the mouse or the keyboard. */
import { useLoaded, useSettled } from "./api.js";
import { Field, useId } from "./components.js";
import { count } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";

/**
 * @param {{
 *     chosen: string,
 *     typed: string | null,
 *     search: (text: string, signal: AbortSignal) => Promise<{ id: string, name: string, detail: string }[]>,
 *     onType: (text: string | null) => void,
 *     onChoose: (found: { id: string, name: string, detail: string }) => void,
 *     focused?: boolean,
 * }} picker `chosen` is shown while nothing is `typed`. What else is given is the field's.
 */
export function Picker({ chosen, typed, search, onType, onChoose, focused = false, ...field }) {
    const id = useId("found");
    const frame = useRef(null);
    const [open, setOpen] = useState(false);
    const [active, setActive] = useState(null);
    const { found, said } = useFound(search, typed ?? "", open);
    const input = () => frame.current.querySelector("input");
    useEffect(() => {
        if (focused) input().focus();
    }, []);
    // What is typed next takes the place of what was chosen.
    useEffect(() => {
        if (typed === null && document.activeElement === input()) input().select();
    }, [typed, chosen]);
    const close = () => {
        setOpen(false);
        setActive(null);
    };
    const type = ({ currentTarget }) => {
        onType(currentTarget.value);
        setOpen(true);
        setActive(null);
    };
    const choose = (one) => {
        close();
        onChoose(one);
    };
    const press = pressed({ open, found, active, setOpen, setActive, close, choose, onType });
    const point = ({ currentTarget }) => {
        setOpen(true);
        if (typed === null) currentTarget.select();
    };
    const at = found.findIndex((each) => each.id === active);
    return html`<div class="picker" ref=${frame}>
        <${Field}
            role="combobox"
            aria-autocomplete="list"
            aria-expanded=${String(found.length > 0)}
            aria-controls=${found.length > 0 ? id : undefined}
            aria-activedescendant=${at >= 0 ? `${id}-${at}` : undefined}
            autocomplete="off"
            spellcheck=${false}
            value=${typed ?? chosen}
            onInput=${type}
            onKeyDown=${press}
            onClick=${point}
            onFocus=${({ currentTarget }) => currentTarget.select()}
            onBlur=${close}
            ...${field}
        />
        ${found.length > 0 && html`<${Found} id=${id} label=${field.label} found=${found} at=${at} onChoose=${choose} />`}
        <p role="status" class=${found.length > 0 ? "unseen" : "hint"}>${said}</p>
    </div>`;
}

/** What fits the text, while the list is open, and the sentence that says how much that is. */
function useFound(search, text, open) {
    const sought = useSettled(text.trim());
    const load = async (signal) => (open ? search(sought, signal) : null);
    const { value: found, problem } = useLoaded(load, [open, sought, search]);
    if (!open || (!found && !problem)) return { found: [], said: "" };
    if (problem) return { found: [], said: problem.message };
    return { found, said: found.length === 0 ? "Nothing fits." : `${count(found.length)} shown` };
}

function Found({ id, label, found, at, onChoose }) {
    const list = useRef(null);
    useEffect(() => list.current.children[at]?.scrollIntoView({ block: "nearest" }), [at]);
    // The field keeps the focus, whatever is pressed here.
    const stay = (event) => event.preventDefault();
    return html`<ul id=${id} role="listbox" aria-label=${label} ref=${list} onMouseDown=${stay}>
        ${found.map(
            (each, index) => html`<li
                key=${each.id}
                id=${`${id}-${index}`}
                role="option"
                aria-selected=${String(index === at)}
                onClick=${() => onChoose(each)}
            >
                ${each.name} <span class="hint">${each.detail}</span>
            </li>`,
        )}
    </ul>`;
}

/** What keys do in the field. One of those found stays active by its id, even if others are found meanwhile. */
function pressed({ open, found, active, setOpen, setActive, close, choose, onType }) {
    const at = found.findIndex((each) => each.id === active);
    const step = (to) => {
        setOpen(true);
        setActive(found[(to + found.length) % found.length]?.id ?? null);
    };
    const keys = {
        ArrowDown: () => step(at + 1),
        ArrowUp: () => step(at < 0 ? found.length - 1 : at - 1),
        Enter: () => (at >= 0 ? choose(found[at]) : close()),
        Escape: () => (open ? close() : onType(null)),
    };
    return (event) => {
        if (!Object.hasOwn(keys, event.key)) return;
        // Enter without a choice is the form's.
        if (event.key !== "Enter" || at >= 0) event.preventDefault();
        keys[event.key]();
    };
}
