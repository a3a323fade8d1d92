/** Which requests are listed: everything here stands in the page's address. */
import { Button, Field } from "../components.js";
import { html, useState } from "../html.js";
import { OUTCOMES } from "./request-outcomes.js";
import { short } from "./request-names.js";

const NAMES = ["from", "to", "model", "key", "node", "outcome", "user"];

/** Of an address's parameters those that narrow the list down. */
export function filtersOf(parameters) {
    return Object.fromEntries(NAMES.filter((name) => parameters[name]).map((name) => [name, parameters[name]]));
}

/**
 * @param {{
 *     me: object,
 *     filters: object,
 *     keys: object[],
 *     nodes: object[],
 *     models: string[],
 *     onChange: (filters: object) => void,
 * }} properties
 */
export function Filters(properties) {
    const count = Object.keys(properties.filters).length;
    // On a phone the list comes first.
    const [open, setOpen] = useState(() => matchMedia("(min-width: 821px)").matches);
    return html`<details class="request-filters" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
        <summary>Filters${count > 0 && ` (${count})`}</summary>
        <${Form} ...${properties} />
    </details>`;
}

function Form({ me, filters, keys, nodes, models, onChange }) {
    const set = (name) => (event) => onChange({ ...filters, [name]: event.target.value });
    const select = (name, label, options) => {
        const all = complete([["", "Any"], ...options], filters[name]);
        return html`<${Field} label=${label} options=${all} value=${filters[name] ?? ""} onChange=${set(name)} />`;
    };
    return html`<form aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
        <${Times} filters=${filters} onChange=${onChange} />
        <${Field} label="Model" list="request-models" autocomplete="off" value=${filters.model ?? ""} onChange=${set("model")} />
        <datalist id="request-models">${models.map((model) => html`<option value=${model}></option>`)}</datalist>
        ${select("key", "Key", keys.map(({ id, name, prefix }) => [id, `${name} (${prefix.slice(0, 12)}…)`]))}
        ${select("node", "Node", nodes.map(({ id, name }) => [id, name ?? short(id)]))}
        ${select("outcome", "Outcome", Object.entries(OUTCOMES).filter(isOfRequests).map(([word, { label }]) => [word, label]))}
        ${select("user", "Whose keys", [[me.id, "Mine"]])}
        <${Button} kind="quiet" disabled=${Object.keys(filters).length === 0} onClick=${() => onChange({})}>Show all<//>
    </form>`;
}

function Times({ filters, onChange }) {
    const set = (name) => (event) => onChange({ ...filters, [name]: instant(event.target.value) });
    const backwards = filters.from && filters.to && filters.from >= filters.to;
    const error = backwards ? "It ends before it begins." : null;
    return html`<${Field} label="From" type="datetime-local" value=${local(filters.from)} onChange=${set("from")} />
        <${Field} label="Until" type="datetime-local" value=${local(filters.to)} error=${error} onChange=${set("to")} />`;
}

/** Only attempts are outdone. */
function isOfRequests([word]) {
    return word !== "outdone";
}

/** What an address asks for can be chosen even if nothing of that id is known. */
function complete(options, value) {
    return !value || options.some(([each]) => each === value) ? options : [...options, [value, short(value)]];
}

/** A moment as such a field has it: in the reader's own time. */
function local(iso) {
    const at = new Date(iso ?? NaN);
    if (Number.isNaN(at.getTime())) return "";
    return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function instant(local) {
    return local === "" ? "" : new Date(local).toISOString();
}
