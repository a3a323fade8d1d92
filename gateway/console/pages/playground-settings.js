/** Who is asked, and how. */
import { Field } from "../components.js";
import { html, useState } from "../html.js";

/** Settings that say where it may be computed. */
const PLACE = ["sort", "tier", "regions", "node"];

const SORTS = [
    ["", "Share the load (usual)"],
    ["price", "Price: the cheapest first"],
    ["throughput", "Throughput: most tokens a second"],
    ["latency", "Latency: the first token soonest"],
    ["energy", "Energy: fewest joules"],
    ["carbon", "Carbon: fewest grams of CO₂e"],
];

const TIERS = [
    ["", "Any, estimates too"],
    ["D", "D or better: from a power gauge"],
    ["C", "C or better: measured in part"],
    ["B", "B or better: hardware’s counters"],
    ["A", "A: measured at the wall"],
];

/**
 * @param {{
 *     settings: import("./playground-body.js").Settings,
 *     wrong: object,
 *     models: ?object[],
 *     nodes: { id: string, name: ?string }[],
 *     onChange: (changed: object) => void,
 * }} properties
 */
export function Settings({ settings, wrong, models, nodes, onChange }) {
    const [open, setOpen] = useState(PLACE.some((name) => settings[name]));
    const bound = (name) => ({
        name,
        value: settings[name],
        error: wrong[name],
        onInput: (event) => onChange({ [name]: event.target.value }),
    });
    return html`<div class="playground-settings">
        <${Field} label="Model" options=${modelOptions(models)} ...${bound("model")} disabled=${!models?.length} />
        <${Field} label="System message" rows="2" optional ...${bound("system")} />
        <div class="playground-numbers">
            <${Field} label="Temperature" inputmode="decimal" autocomplete="off" ...${bound("temperature")} />
            <${Field} label="Most tokens" inputmode="numeric" autocomplete="off" ...${bound("maxTokens")} />
            <${Field} label="Seed" inputmode="numeric" autocomplete="off" optional ...${bound("seed")} />
        </div>
        <details
            open=${open || PLACE.some((name) => wrong[name])}
            onToggle=${(event) => setOpen(event.target.open)}
        >
            <summary>Where it may be computed</summary>
            <${Field} label="What comes first" options=${SORTS} ...${bound("sort")} />
            <${Field} label="How well its energy is known" options=${TIERS} ...${bound("tier")} />
            <${Field} label="Regions" placeholder="EU, US-CA" optional autocomplete="off" ...${bound("regions")} />
            <${Field}
                label="Node"
                hint="A name or an id; it is tried first."
                optional
                autocomplete="off"
                list="playground-nodes"
                ...${bound("node")}
            />
            <datalist id="playground-nodes">
                ${nodes.map(({ id, name }) => html`<option value=${id}>${name ?? id}</option>`)}
            </datalist>
            <label class="playground-only">
                <input
                    type="checkbox"
                    checked=${settings.nodeOnly}
                    onChange=${(event) => onChange({ nodeOnly: event.target.checked })}
                />
                Nobody but this node
            </label>
        </details>
    </div>`;
}

function modelOptions(models) {
    if (!models) return [["", "Give a key first"]];
    if (models.length === 0) return [["", "No model is served now"]];
    return models.map(({ id, alias_of: meant }) => [id, meant ? `${id} (${meant})` : id]);
}
