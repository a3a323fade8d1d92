/** Figures over time, drawn by uPlot, with the same figures as a table. */
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { Table } from "./components.js";
import uPlot from "./vendor/uPlot.esm.js";

const COLOURS = 8;
const DAY = 86_400;
/** What the rest of a page listens to when light turns dark. */
export const THEME_CHANGED = "commonwatt:theme";

/**
 * @param {{
 *     title: string,
 *     times: number[] | string[],
 *     series: { label: string, values: (number | bigint | null)[] }[],
 *     format: (value: number) => string,
 *     kind?: "bars" | "lines",
 *     bucket?: number,
 *     height?: number,
 *     moment?: (time: number) => string,
 *     utc?: boolean,
 *     sync?: string,
 * }} chart `times` are seconds since 1970, or what Date reads. Bars are stacked. `bucket` is a bar's length in seconds.
 *     Charts of one `sync` share their cursor. With `utc` the axis tells UTC, as days and months of the books are.
 */
export function Chart({ title, times, series, format, moment = inWords, ...look }) {
    const { kind = "lines", bucket = null, height = 220, utc = false, sync = null } = look;
    const box = useRef(null);
    const [hovered, setHovered] = useState(null);
    const seconds = useMemo(
        () => times.map((time) => (typeof time === "number" ? time : Date.parse(time) / 1000)),
        [times],
    );
    const numbers = useMemo(
        () => series.map(({ values }) => values.map((value) => (value === null ? null : Number(value)))),
        [series],
    );
    useEffect(() => {
        const draw = () =>
            plot(box.current, { seconds, numbers, format, kind, bucket, height, utc, sync, onHover: setHovered });
        let drawn = draw();
        const resized = new ResizeObserver(() => drawn.setSize({ width: box.current.clientWidth, height }));
        resized.observe(box.current);
        const again = () => {
            drawn.destroy();
            drawn = draw();
        };
        const dark = matchMedia("(prefers-color-scheme: dark)");
        dark.addEventListener("change", again);
        addEventListener(THEME_CHANGED, again);
        return () => {
            resized.disconnect();
            dark.removeEventListener("change", again);
            removeEventListener(THEME_CHANGED, again);
            drawn.destroy();
        };
    }, [seconds, numbers, format, kind, bucket, height, utc, sync]);
    const value = (index) => (hovered === null ? "" : told(numbers[index][hovered], format));
    return html`<figure class="chart">
        <figcaption>
            <span class="unseen">${title}</span>
            <span class="at">${hovered === null ? "" : moment(seconds[hovered])}</span>
        </figcaption>
        <div class="plot" ref=${box} role="img" aria-label=${`${title}. The figures are in the table below.`}></div>
        <ul class="legend">
            ${series.map(
                ({ label }, index) => html`<li key=${index}>
                    <span class=${`swatch series-${index % COLOURS}`}></span>
                    <span class="name">${label}</span> <span class="value">${value(index)}</span>
                </li>`,
            )}
        </ul>
        <details>
            <summary>As a table</summary>
            <${Figures} ...${{ title, seconds, series, numbers, format, moment }} />
        </details>
    </figure>`;
}

function Figures({ title, seconds, series, numbers, format, moment }) {
    const columns = [
        { label: "Time", render: ({ index }) => moment(seconds[index]) },
        ...series.map(({ label }, each) => ({
            label,
            numeric: true,
            render: ({ index }) => told(numbers[each][index], format),
        })),
    ];
    const rows = seconds.map((_, index) => ({ id: String(index), index }));
    return html`<${Table} caption=${title} columns=${columns} rows=${rows} />`;
}

function told(value, format) {
    return value === null || value === undefined ? "–" : format(value);
}

function inWords(time) {
    return new Date(time * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

function plot(box, { seconds, numbers, format, kind, bucket, height, utc, sync, onHover }) {
    const bars = kind === "bars";
    const [ink, line] = ["--muted", "--line"].map((name) => colour(box, name));
    const axis = {
        stroke: ink,
        font: `12px ${getComputedStyle(box).fontFamily}`,
        grid: { stroke: line, width: 1 },
        ticks: { stroke: line, width: 1, size: 4 },
    };
    const heights = bars ? stacked(numbers) : numbers;
    const looks = heights.map((_, index) => look(colour(box, `--series-${index % COLOURS}`), bars));
    const options = {
        width: box.clientWidth,
        height,
        padding: [10, 20, 0, 0],
        legend: { show: false },
        cursor: {
            y: false,
            points: { show: !bars },
            drag: { x: false, y: false },
            sync: sync ? { key: sync } : undefined,
        },
        scales: {
            x: { range: bars && bucket ? (_, from, to) => [from, to + bucket] : undefined },
            y: { range: fromZero },
        },
        axes: [
            { ...axis, grid: { show: false }, size: 32, values: dates(utc) },
            { ...axis, size: widest, values: (_, values) => values.map((value) => format(value)), ...steps(numbers) },
        ],
        tzDate: (time) => (utc ? uPlot.tzDate(new Date(time * 1000), "Etc/UTC") : new Date(time * 1000)),
        // The highest of a stack is drawn first, so that the lower ones stand before it.
        series: [{}, ...(bars ? looks.toReversed() : looks)],
        hooks: { setCursor: [({ cursor }) => onHover(cursor.idx ?? null)] },
    };
    return new uPlot(options, [seconds, ...(bars ? heights.toReversed() : heights)], box);
}

/** What a custom property comes to in the present theme: a canvas knows colours only. */
function colour(box, property) {
    box.style.color = `var(${property})`;
    const found = getComputedStyle(box).color;
    box.style.color = "";
    return found;
}

/** Between whole figures there is nothing to mark. */
function steps(numbers) {
    if (!numbers.every((values) => values.every((value) => value === null || Number.isInteger(value)))) return {};
    return { incrs: Array.from({ length: 18 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat() };
}

function look(colour, bars) {
    if (!bars) return { stroke: colour, width: 1.75 };
    return {
        fill: colour,
        width: 0,
        paths: uPlot.paths.bars({ size: [0.82, 60], align: 1 }),
        points: { show: false },
    };
}

/** What stands below the axis: the time of day, and the day where one begins. */
function dates(utc) {
    const timeZone = utc ? "UTC" : undefined;
    const written = (options) => {
        const format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone });
        return (time) => format.format(time * 1000);
    };
    const [month, day, hour] = [
        { month: "short", year: "2-digit" },
        { day: "numeric", month: "short" },
        { hour: "2-digit", minute: "2-digit" },
    ].map(written);
    return (_, times, __, ___, step) => {
        if (step >= 28 * DAY) return times.map(month);
        return times.map((time) => (step >= DAY || hour(time) === "00:00" ? day(time) : hour(time)));
    };
}

/** Each series on top of those before it. */
function stacked(numbers) {
    const below = numbers[0]?.map(() => 0) ?? [];
    return numbers.map((values) => values.map((value, index) => (below[index] += value ?? 0)));
}

function fromZero(_, least, most) {
    return [Math.min(0, least ?? 0), most > 0 ? most * 1.08 : 1];
}

/** As wide as the axis' longest text. */
function widest(plot, values) {
    const longest = Math.max(0, ...(values ?? []).map((text) => text.length));
    return Math.max(40, longest * 7 + 14);
}
