/** What the pages are built of. Every text goes through the renderer, which escapes it. */
import { count } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";

/** An id for what a label or a description refers to. */
let made = 0;
export function useId(prefix) {
    const id = useRef(null);
    id.current ??= `${prefix}-${++made}`;
    return id.current;
}

function classes(...names) {
    return names.filter(Boolean).join(" ");
}

/**
 * A button. `kind` is "primary", "danger", "quiet" or nothing; while `busy` it can't be pressed twice.
 */
export function Button({ kind = "", busy = false, children, disabled = false, type = "button", ...rest }) {
    return html`<button
        type=${type}
        class=${classes("button", kind)}
        aria-busy=${busy ? "true" : undefined}
        disabled=${busy || disabled}
        ...${rest}
    >
        ${children}
    </button>`;
}

/**
 * A form's field with its label, a hint, and the error beside it. Its control is an `input` of the attributes given, or a
 * `select` of `options` (`[value, text]` each), or a `textarea` when `rows` is given.
 */
export function Field({ label, hint, error, options, rows, optional = false, ...control }) {
    const id = useId("field");
    const describedBy = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
    const attributes = {
        id,
        "aria-describedby": describedBy || undefined,
        "aria-invalid": error ? "true" : undefined,
        ...control,
    };
    return html`<div class=${classes("field", error && "wrong")}>
        <label for=${id}>${label}${optional && html` <span class="optional">optional</span>`}</label>
        <${Control} attributes=${attributes} options=${options} rows=${rows} />
        ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
        ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    </div>`;
}

/** For a form: leads to the first field that is wrong, whenever there are other errors than before. */
export function useFirstWrong(errors) {
    const form = useRef(null);
    useEffect(() => form.current?.querySelector("[aria-invalid=true]")?.focus(), [errors]);
    return form;
}

function Control({ attributes, options, rows }) {
    if (options) {
        return html`<select ...${attributes}>
            ${options.map(([value, text]) => html`<option value=${value} selected=${value === attributes.value}>${text}</option>`)}
        </select>`;
    }
    return rows ? html`<textarea rows=${rows} ...${attributes}></textarea>` : html`<input ...${attributes} />`;
}

/**
 * A table that becomes a list of cards on a narrow screen.
 *
 * @param {{
 *     caption: string,
 *     columns: { key?: string, label: string, numeric?: boolean, render?: (row: object) => any }[],
 *     rows: object[],
 *     empty?: any,
 *     rowKey?: (row: object) => string,
 *     hideCaption?: boolean,
 *     sums?: object,
 *     wide?: boolean,
 * }} table `sums` is a row at the foot. A `wide` one may be scrolled, with the keyboard too.
 */
export function Table({
    caption,
    columns,
    rows,
    empty = "Nothing yet.",
    rowKey = (row) => row.id,
    hideCaption = true,
    sums = null,
    wide = false,
}) {
    if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
    const cell = (row, { key, label, numeric, render }) =>
        html`<td class=${numeric ? "numeric" : ""} data-label=${label}><div>${render ? render(row) : row[key]}</div></td>`;
    const scrolled = wide ? { tabindex: "0", role: "region", "aria-label": caption } : {};
    return html`<div class="table" ...${scrolled}>
        <table>
            <caption class=${hideCaption ? "unseen" : ""}>${caption}</caption>
            <thead>
                <tr>
                    ${columns.map(({ label, numeric }) => html`<th scope="col" class=${numeric ? "numeric" : ""}>${label}</th>`)}
                </tr>
            </thead>
            <tbody>
                ${rows.map((row) => html`<tr key=${rowKey(row)}>${columns.map((column) => cell(row, column))}</tr>`)}
            </tbody>
            ${sums && html`<tfoot><tr>${columns.map((column) => cell(sums, column))}</tr></tfoot>`}
        </table>
    </div>`;
}

/** A dialog over the page. Escape and its own button close it; `onClose` is told. */
export function Dialog({ title, onClose, children, closable = true }) {
    const dialog = useRef(null);
    const id = useId("dialog");
    useEffect(() => {
        const before = document.activeElement;
        dialog.current.showModal();
        return () => before?.focus?.();
    }, []);
    const cancel = (event) => {
        event.preventDefault();
        if (closable) onClose();
    };
    return html`<dialog ref=${dialog} aria-labelledby=${id} onCancel=${cancel}>
        <header>
            <h2 id=${id}>${title}</h2>
            ${closable && html`<button type="button" class="close" aria-label="Close" onClick=${onClose}>×</button>`}
        </header>
        ${children}
    </dialog>`;
}

/** A sentence that must be seen. `kind` is "info", "good", "warning" or "error". */
export function Notice({ kind = "info", title, children, action }) {
    return html`<div class=${classes("notice", kind)} role=${kind === "error" ? "alert" : "status"}>
        <div>${title && html`<strong>${title}</strong> `}${children}</div>
        ${action}
    </div>`;
}

/** What a failed load says, with a button that tries again. */
export function Trouble({ problem, retry }) {
    const wait = problem.retryAfter ? ` Try again in ${problem.retryAfter} s.` : "";
    const action = retry && html`<${Button} onClick=${retry}>Try again<//>`;
    return html`<${Notice} kind="error" action=${action}>${problem.message}${wait}<//>`;
}

/** Something is on its way. */
export function Busy({ children = "Loading …" }) {
    return html`<p class="busy" role="status">${children}</p>`;
}

/** One figure with what it counts; `detail` says more below it. */
export function Figure({ label, value, unit, detail, title }) {
    return html`<div class="figure" title=${title}>
        <dt>${label}</dt>
        <dd>
            <span class="value">${value}</span>${unit && html` <span class="unit">${unit}</span>`}
            ${detail && html`<span class="detail">${detail}</span>`}
        </dd>
    </div>`;
}

/** Figures side by side. */
export function Figures({ children }) {
    return html`<dl class="figures">${children}</dl>`;
}

const TIERS = {
    A: "measured at the wall and reconciled with counters",
    B: "measured by counters on all material components",
    C: "measured in part, the host modelled",
    D: "derived from a gauge, or from measured machines of the same class",
    E: "estimated from processor time and rated power",
    X: "not verified, so no figure is shown",
};

/** How well a figure of energy is known. */
export function Tier({ tier }) {
    if (!TIERS[tier]) return null;
    const meaning = `Energy tier ${tier}: ${TIERS[tier]}`;
    return html`<span class=${`tier tier-${tier.toLowerCase()}`} title=${meaning}>
        <span aria-hidden="true">${tier}</span><span class="unseen">${meaning}</span>
    </span>`;
}

/** A word for how something stands. `kind` is "good", "warning", "bad" or "plain". */
export function Badge({ kind = "plain", children }) {
    return html`<span class=${`badge ${kind}`}>${children}</span>`;
}

/** A text to take along, such as a secret or a command, with a button that copies it. */
export function Copy({ text, label = "Copy", multiline = false }) {
    const [said, setSaid] = useState("");
    const shown = useRef(null);
    const copy = async () => {
        const copied = await navigator.clipboard?.writeText(text).then(
            () => true,
            () => false,
        );
        if (!copied) getSelection().selectAllChildren(shown.current);
        setSaid(copied ? "Copied" : "Selected: copy it with the keyboard");
    };
    return html`<div class=${classes("copy", multiline && "multiline")}>
        <code ref=${shown} tabindex="0" aria-label=${label}>${text}</code>
        <${Button} onClick=${copy}>${said === "Copied" ? "Copied ✓" : label}<//>
        <span role="status" class=${said.startsWith("Selected") ? "hint" : "unseen"}>${said}</span>
    </div>`;
}

/** Steps through pages; a function that is missing means that there is no such page. `words` are for what has another order. */
export function Pager({ onNewer, onOlder, shown, words: [newer, older] = ["← Newer", "Older →"] }) {
    if (!onNewer && !onOlder) return null;
    return html`<nav class="pager" aria-label="Pages">
        <${Button} disabled=${!onNewer} onClick=${onNewer}>${newer}<//>
        ${shown !== undefined && html`<span class="hint">${count(shown)} shown</span>`}
        <${Button} disabled=${!onOlder} onClick=${onOlder}>${older}<//>
    </nav>`;
}

/** One of a few, side by side. `options` are `[value, text]` each, or `[value, text, name]` where the text is an abbreviation. */
export function Choice({ label, value, options, onChange }) {
    const name = useId("choice");
    const option = ([each, text, full]) => html`<label title=${full}>
        <input
            type="radio"
            name=${name}
            value=${each}
            aria-label=${full}
            checked=${each === value}
            onChange=${() => onChange(each)}
        />
        <span>${text}</span>
    </label>`;
    return html`<fieldset class="choice"><legend class="unseen">${label}</legend>${options.map(option)}</fieldset>`;
}

/** A page's heading with what can be done on it. */
export function Heading({ title, children, about }) {
    return html`<header class="heading">
        <div>
            <h1 tabindex="-1">${title}</h1>
            ${about && html`<p>${about}</p>`}
        </div>
        ${children && html`<div class="actions">${children}</div>`}
    </header>`;
}

/** A part of a page. */
export function Card({ title, children, actions, wide = false }) {
    const id = useId("card");
    return html`<section class=${classes("card", wide && "wide")} aria-labelledby=${title ? id : undefined}>
        ${title && html`<header><h2 id=${id}>${title}</h2>${actions}</header>`} ${children}
    </section>`;
}
