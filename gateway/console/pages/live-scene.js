/**
 * The picture of the live view, on a canvas. What stands still is drawn once; what moves is a few hundred sprites at most,
 * and when nothing moves nothing is drawn.
 */
import { joules } from "../format.js";
import { along, arrange } from "./live-layout.js";

const OUTWARD = 900;
const BACK = 1100;
const LABEL = 2600;
const PULSE = 500;
const TAIL = 14;
/** Shares of the way between the pieces of a tail. */
const TAIL_STEP = 0.008;
const MOST_PARTICLES = 260;
const MOST_LABELS = 20;
const MOST_ORBITS = 8;
const SPRITE = 64;
/** Colours by their names in the style sheet. */
const PALETTE = {
    ink: "--ink",
    muted: "--muted",
    line: "--line-strong",
    accent: "--accent",
    A: "--series-0",
    B: "--series-0",
    C: "--series-5",
    D: "--series-1",
    E: "--series-2",
    X: "--line-strong",
    bad: "--bad",
};
const FAILED = new Set(["node_failed", "gateway_failed", "no_node"]);

export class Scene {
    #canvas;
    #context;
    #still = document.createElement("canvas");
    #name;
    #nodes = [];
    #layout = arrange([], 1, 1, () => "");
    #colours = {};
    #sprites = {};
    #particles = [];
    #labels = [];
    #pulsed = -Infinity;
    #frame = 0;
    #size = { width: 1, height: 1, ratio: 1 };

    /** `name` gives what stands beside a node. */
    constructor(canvas, name) {
        this.#canvas = canvas;
        this.#context = canvas.getContext("2d");
        this.#name = name;
        this.recolour();
    }

    /** Draws with the colours that the page has now. */
    recolour() {
        const probe = document.createElement("span");
        this.#canvas.after(probe);
        for (const [name, property] of Object.entries(PALETTE)) {
            probe.style.color = `var(${property})`;
            this.#colours[name] = getComputedStyle(probe).color;
        }
        this.#colours.font = getComputedStyle(probe).fontFamily;
        probe.remove();
        this.#sprites = {};
        this.#rest();
    }

    resize(width, height) {
        const ratio = Math.min(2, devicePixelRatio || 1);
        this.#size = { width, height, ratio };
        for (const canvas of [this.#canvas, this.#still]) {
            canvas.width = Math.round(width * ratio);
            canvas.height = Math.round(height * ratio);
        }
        this.#rest();
    }

    /** Shows these nodes; their `running` is looked at in every frame. */
    place(nodes) {
        this.#nodes = nodes;
        this.#rest();
    }

    /** A request goes out to a node. */
    began({ node }) {
        this.#fly({ node, colour: "accent", size: 7, time: OUTWARD, back: false });
    }

    /** Its answer comes back, as large as its joules. */
    ended({ node, microjoules, tier, outcome }) {
        const colour = FAILED.has(outcome) ? "bad" : tier;
        const size = 6 + 4 * Math.log10(1 + (microjoules ?? 0) / 1e6);
        this.#fly({ node, colour, size, time: BACK, back: true });
        if (microjoules) this.#say(node, joules(microjoules), colour);
    }

    /** Figures rise from a node, one after the other. */
    #say(node, text, colour) {
        const now = performance.now();
        const crowded = this.#labels.some((label) => label.node === node && now - label.from < LABEL / 3);
        if (!crowded && this.#labels.length < MOST_LABELS) this.#labels.push({ node, text, colour, from: now });
    }

    destroy() {
        cancelAnimationFrame(this.#frame);
    }

    #fly(particle) {
        if (this.#particles.length < MOST_PARTICLES) this.#particles.push({ ...particle, from: performance.now() });
        this.#wake();
    }

    #wake() {
        if (this.#frame === 0) this.#frame = requestAnimationFrame((now) => this.#draw(now));
    }

    #draw(now) {
        this.#frame = 0;
        const { width, height, ratio } = this.#size;
        const context = this.#context;
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
        context.drawImage(this.#still, 0, 0);
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        this.#particles = this.#particles.filter((particle) => this.#drawParticle(particle, now));
        this.#drawRunning(now);
        this.#labels = this.#labels.filter((label) => this.#drawLabel(label, now));
        this.#drawGateway(now);
        const moves = this.#particles.length + this.#labels.length > 0 || this.#nodes.some(({ running }) => running > 0) || now - this.#pulsed < PULSE;
        if (moves && width > 0 && height > 0) this.#wake();
    }

    #drawParticle({ node, colour, size, time, back, from }, now) {
        const place = this.#layout.nodes.get(node);
        const share = (now - from) / time;
        if (!place || share >= 1) {
            if (back && place) this.#pulsed = now;
            return false;
        }
        for (let piece = TAIL; piece >= 0; piece--) {
            const at = eased(share - piece * TAIL_STEP);
            if (at <= 0) continue;
            const { x, y } = along(this.#layout.gateway, place.bend, place, back ? 1 - at : at);
            this.#stamp(colour, x, y, size * (1 - piece / (TAIL + 3)), 0.85 * (1 - piece / (TAIL + 1)));
        }
        return true;
    }

    /** What computes circles its node, which glows. */
    #drawRunning(now) {
        for (const { node, running } of this.#nodes) {
            const place = this.#layout.nodes.get(node);
            if (!place || running === 0) continue;
            const breath = 0.4 + 0.15 * Math.sin(now / 380);
            this.#stamp("accent", place.x, place.y, place.radius * 3.4, breath);
            this.#dot(this.#context, place);
            for (let index = 0; index < Math.min(running, MOST_ORBITS); index++) {
                const angle = now / 620 + (index * 2 * Math.PI) / Math.min(running, MOST_ORBITS);
                const away = place.radius + 7;
                this.#stamp("accent", place.x + Math.cos(angle) * away, place.y + Math.sin(angle) * away, 5, 1);
            }
        }
    }

    #drawLabel({ node, text, colour, from }, now) {
        const place = this.#layout.nodes.get(node);
        const share = (now - from) / LABEL;
        if (!place || share >= 1) return false;
        const context = this.#context;
        context.globalAlpha = Math.min(1, 3 * (1 - share));
        context.fillStyle = this.#colours[colour] ?? this.#colours.ink;
        context.font = `600 13px ${this.#colours.font}`;
        context.textAlign = "center";
        context.fillText(text, place.x, place.y - place.radius - 12 - 22 * eased(share));
        context.globalAlpha = 1;
        return true;
    }

    #drawGateway(now) {
        const { x, y } = this.#layout.gateway;
        const pulse = Math.max(0, 1 - (now - this.#pulsed) / PULSE);
        if (pulse > 0) this.#stamp("accent", x, y, 40 + 26 * pulse, 0.5 * pulse);
    }

    #stamp(colour, x, y, radius, alpha) {
        this.#context.globalAlpha = Math.max(0, Math.min(1, alpha));
        this.#context.drawImage(this.#sprite(colour), x - radius, y - radius, radius * 2, radius * 2);
        this.#context.globalAlpha = 1;
    }

    /** A soft dot of one colour, painted once. */
    #sprite(colour) {
        this.#sprites[colour] ??= (() => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = SPRITE;
            const context = canvas.getContext("2d");
            const half = SPRITE / 2;
            const glow = context.createRadialGradient(half, half, 0, half, half, half);
            const paint = this.#colours[colour] ?? this.#colours.muted;
            glow.addColorStop(0, paint);
            glow.addColorStop(0.28, paint);
            glow.addColorStop(1, paint.replace(/^rgb\((.*)\)$/, "rgba($1, 0)"));
            context.fillStyle = glow;
            context.fillRect(0, 0, SPRITE, SPRITE);
            return canvas;
        })();
        return this.#sprites[colour];
    }

    /** Lays everything out anew, and draws what stands still. */
    #rest() {
        const { width, height, ratio } = this.#size;
        this.#layout = arrange(this.#nodes, width, height, this.#name);
        const context = this.#still.getContext("2d");
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, width, height);
        this.#restWays(context);
        this.#restNodes(context);
        this.#restRegions(context);
        this.#restGateway(context);
        this.#wake();
    }

    #restWays(context) {
        const { gateway, nodes } = this.#layout;
        context.strokeStyle = this.#colours.line;
        context.globalAlpha = nodes.size > 60 ? 0.12 : 0.28;
        context.lineWidth = 1;
        for (const { x, y, bend } of nodes.values()) {
            context.beginPath();
            context.moveTo(gateway.x, gateway.y);
            context.quadraticCurveTo(bend.x, bend.y, x, y);
            context.stroke();
        }
        context.globalAlpha = 1;
    }

    #restNodes(context) {
        context.font = `12px ${this.#colours.font}`;
        context.textAlign = "center";
        for (const place of this.#layout.nodes.values()) {
            this.#dot(context, place);
            context.fillStyle = this.#colours.ink;
            if (place.label) context.fillText(place.label, place.x, place.y + place.radius + 18);
        }
    }

    #dot(context, { x, y, radius, tier }) {
        context.fillStyle = this.#colours[tier] ?? this.#colours.muted;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
    }

    #restRegions(context) {
        context.font = `600 12px ${this.#colours.font}`;
        context.fillStyle = this.#colours.muted;
        context.textBaseline = "middle";
        for (const { text, x, y, align } of this.#layout.regions) {
            context.textAlign = align;
            context.fillText(text, x, y);
        }
        context.textBaseline = "alphabetic";
    }

    #restGateway(context) {
        const { x, y } = this.#layout.gateway;
        context.fillStyle = this.#colours.accent;
        context.beginPath();
        context.arc(x, y, 17, 0, 2 * Math.PI);
        context.fill();
        context.font = `600 12px ${this.#colours.font}`;
        context.textAlign = "center";
        context.fillStyle = this.#colours.ink;
        context.fillText("gateway", x, y + 36);
    }
}

function eased(share) {
    if (share <= 0) return 0;
    return share < 0.5 ? 2 * share * share : 1 - 2 * (1 - share) ** 2;
}
