/** Where everything stands in the picture: the gateway in the middle, nodes around it, those of one region together. Pure. */
import { byRegion } from "./node-words.js";

/** Nodes that a ring holds before there is another one within it. */
const ON_A_RING = 48;
const MOST_RINGS = 5;
/** Space between regions, in nodes. */
const GAP = 0.9;
/** Narrower pictures have no room for names. */
const ROOM_FOR_NAMES = 640;
/** More nodes stand too close for names, and are smaller. */
const MOST_NAMES = 24;

/** Nodes that the picture has room for. */
export const MOST_NODES = ON_A_RING * MOST_RINGS;

/**
 * @param {{ node: string, region: string | null, slots: number, tier: string }[]} nodes
 * @typedef {{ x: number, y: number }} Point
 * @typedef {Point & { radius: number, tier: string, label: string, bend: Point }} Placed
 * @returns {{ gateway: Point, nodes: Map<string, Placed>, regions: { text: string, x: number, y: number, align: string }[] }}
 */
export function arrange(nodes, width, height, name) {
    const gateway = { x: width / 2, y: height / 2 };
    const groups = byRegion(nodes.slice(0, MOST_NODES).map((node) => ({ ...node, offer: { region: node.region } })));
    const count = groups.reduce((all, group) => all + group.nodes.length, 0);
    const rings = Math.min(MOST_RINGS, Math.ceil(count / ON_A_RING)) || 1;
    const step = (2 * Math.PI) / (count + GAP * groups.length || 1);
    const wide = width >= ROOM_FOR_NAMES;
    const outer = { x: width / 2 - (wide ? 150 : 46), y: height / 2 - (wide ? 92 : 70) };
    const placed = new Map();
    const regions = [];
    let index = 0;
    let angle = -Math.PI / 2 - ((groups[0]?.nodes.length ?? 1) - 1) * step * 0.5;
    for (const group of groups) {
        const from = angle;
        for (const node of group.nodes) {
            const scale = 1 - (index % rings) * 0.13;
            const point = around(gateway, outer, angle, scale);
            const radius = Math.min(5 + 2 * Math.sqrt(node.slots), 16) * (count > MOST_NAMES ? 0.6 : 1);
            const label = wide && count <= MOST_NAMES ? name(node.node) : "";
            placed.set(node.node, { ...point, radius, tier: node.tier, label, bend: bend(gateway, point, index) });
            index += 1;
            angle += step;
        }
        regions.push(regionLabel(group, gateway, outer, (from + angle - step) / 2, wide));
        angle += GAP * step;
    }
    return { gateway, nodes: placed, regions };
}

function around(centre, radii, angle, scale) {
    return { x: centre.x + Math.cos(angle) * radii.x * scale, y: centre.y + Math.sin(angle) * radii.y * scale };
}

function regionLabel(group, gateway, outer, angle, wide) {
    const out = wide ? { x: outer.x, y: outer.y + 68 } : { x: outer.x + 26, y: outer.y + 52 };
    const point = around(gateway, out, angle, 1);
    const cosine = Math.cos(angle);
    const align = Math.abs(cosine) < 0.35 ? "center" : cosine > 0 ? "right" : "left";
    const x = align === "center" ? point.x : align === "right" ? gateway.x * 2 - 12 : 12;
    return { text: wide ? group.place : group.region || "?", x, y: point.y, align };
}

/** The middle of the way between two points, set off so that ways are curves. */
function bend(from, to, index) {
    const [x, y] = [to.x - from.x, to.y - from.y];
    const side = index % 2 === 0 ? 0.14 : -0.14;
    return { x: from.x + x / 2 - y * side, y: from.y + y / 2 + x * side };
}

/** The point at a share of the way. */
export function along(from, bend, to, share) {
    const rest = 1 - share;
    const mix = (axis) => rest * rest * from[axis] + 2 * rest * share * bend[axis] + share * share * to[axis];
    return { x: mix("x"), y: mix("y") };
}
