/** Bars one below the other over one scale, with their values beside them. */
import { html } from "../html.js";

const WIDTH = 1000;
const HEIGHT = 20;

/**
 * @param {{
 *     lanes: {
 *         label: string,
 *         value: any,
 *         title: string,
 *         bars: { kind: string, from: number, to: number }[],
 *         interval?: [number, number],
 *     }[],
 *     end: number,
 *     scale: (value: number) => string,
 * }} properties `title` says in words what a lane shows; `end` is where the scale ends.
 */
export function Lanes({ lanes, end, scale }) {
    const at = (value) => (end > 0 ? (Math.min(value, end) / end) * WIDTH : 0);
    return html`<div class="request-lanes">
        ${lanes.map(
            ({ label, value, title, bars, interval }) =>
                html`<div class="request-lane">
                    <span class="request-lane-label">${label}</span>
                    <svg
                        viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
                        preserveAspectRatio="none"
                        role="img"
                        aria-label=${`${label}. ${title}`}
                    >
                        <title>${title}</title>
                        <rect class="request-track" x="0" y="0" width=${WIDTH} height=${HEIGHT} />
                        ${bars.map((bar) => html`<${Bar} ...${bar} at=${at} />`)}
                        ${interval && html`<${Interval} ends=${interval.map(at)} />`}
                    </svg>
                    <span class="request-lane-value">${value}</span>
                </div>`,
        )}
        <div class="request-lane request-scale" aria-hidden="true">
            <span></span>
            <span class="request-ticks"><span>0</span><span>${scale(end / 2)}</span><span>${scale(end)}</span></span>
            <span></span>
        </div>
    </div>`;
}

/** Thin enough to be overlooked is still seen. */
function Bar({ kind, from, to, at }) {
    return html`<rect
        class=${`request-${kind}`}
        x=${at(from)}
        y="3"
        width=${Math.max(2, at(to) - at(from))}
        height=${HEIGHT - 6}
    />`;
}

function Interval({ ends: [low, high] }) {
    const middle = HEIGHT / 2;
    const cap = (x) => `M${x} 1V${HEIGHT - 1}`;
    const path = `M${low} ${middle}H${high}${cap(low)}${cap(high)}`;
    return html`<path class="request-halo" d=${path} /><path class="request-interval" d=${path} />`;
}
