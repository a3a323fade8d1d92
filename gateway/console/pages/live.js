/** The federation at work, for a wall: what runs where, and the joules that it takes. */
import { get, useLoaded } from "../api.js";
import { Button, Card, Choice, Figure, Figures, Heading, Notice } from "../components.js";
import { THEME_CHANGED } from "../chart.js";
import { figure, grams, joules, roundCount } from "../format.js";
import { html, useCallback, useEffect, useRef, useState } from "../html.js";
import { useFeed } from "./live-feed.js";
import { NodeList, RecentList, spoken } from "./live-list.js";
import { LiveModel } from "./live-model.js";
import { Scene } from "./live-scene.js";

export const title = "Live";

const REDRAW = 500;
/** A listener hears how things stand no more often than this. */
const SPEAK = 15_000;
const VIEWS = [
    ["picture", "Picture"],
    ["list", "List"],
];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export default function Live() {
    const name = useNames();
    const [view, setView] = useState(calm.matches ? "list" : "picture");
    const [, redraw] = useState(0);
    const model = useRef(null);
    model.current ??= new LiveModel();
    const scene = useRef(null);
    const hear = (heard) => {
        const moved = model.current.hear(heard, Date.now());
        if (moved) scene.current?.place([...model.current.nodes.values()]);
        if (heard.event === "began") scene.current?.began(heard.data);
        if (heard.event === "ended") scene.current?.ended(heard.data);
    };
    const { connected, problem } = useFeed(() => model.current.reset(), hear);
    useEffect(() => {
        const timer = setInterval(() => redraw((turn) => turn + 1), REDRAW);
        return () => clearInterval(timer);
    }, []);
    const wall = useRef(null);
    const nodes = [...model.current.nodes.values()];
    return html`<${Heading} title="Live" about="Every attempt on every node, as it happens. Nothing here says who asked, or what.">
            <${Choice} label="Show as" value=${view} options=${VIEWS} onChange=${setView} />
            <${FullScreen} wall=${wall} />
        <//>
        ${problem && html`<${Notice} kind="warning">${problem.message} It is tried again by itself.<//>`}
        <div class="live" ref=${wall}>
            <${Counters} figures=${model.current.figures()} connected=${connected} />
            ${view === "picture" && html`<${Picture} scene=${scene} model=${model} name=${name} />`}
            ${view === "picture" && html`<${Legend} />`}
        </div>
        <${Spoken} model=${model} />
        ${view === "list" && html`<${Card} title="Nodes" wide><${NodeList} nodes=${nodes} name=${name} /><//>`}
        <${Card} title="What ended last" wide><${RecentList} recent=${model.current.recent} name=${name} /><//>
        <p class="hint">
            Figures are those of the gateway replica that answers, since it started; rates are of the last ten seconds. Energy is
            rounded to three digits for each attempt, and carbon is that of nodes that say where they stand.
            ${model.current.missed > 0 && html`${roundCount(model.current.missed)} events came too fast to be shown.`}
        </p>`;
}

/** What nodes are called: those of one's own by their names, others by the end of their ids. */
function useNames() {
    const { value } = useLoaded((signal) => get("/api/nodes", null, { signal }));
    const names = useRef(new Map());
    names.current = new Map(value?.data.map(({ id, name }) => [id, name]));
    return useCallback((id) => names.current.get(id) ?? `…${id.slice(-6)}`, [value]);
}

function Counters({ figures, connected }) {
    const shown = (value, format) => (figures ? format(figures[value]) : "–");
    const state = connected ? html`<span class="pulse" aria-hidden="true"></span> live` : "connecting …";
    return html`<${Figures}>
        <${Figure} label="Attempts" value=${shown("attempts", roundCount)} detail=${html`${shown("running", roundCount)} under way`} />
        <${Figure} label="Tokens a second" value=${shown("tokensPerSecond", figure)} detail=${`${shown("tokens", roundCount)} in all`} />
        <${Figure} label="Watts" value=${shown("watts", figure)} detail=${`${shown("microjoules", joules)} in all`} />
        <${Figure} label="CO₂e" value=${shown("micrograms", grams)} detail="in all" />
        <${Figure} label="Nodes" value=${shown("nodes", roundCount)} detail=${state} />
    <//>`;
}

function Picture({ scene, model, name }) {
    const canvas = useRef(null);
    useEffect(() => {
        const drawn = new Scene(canvas.current, name);
        scene.current = drawn;
        drawn.place([...model.current.nodes.values()]);
        const box = canvas.current.parentElement;
        const resized = new ResizeObserver(() => drawn.resize(box.clientWidth, box.clientHeight));
        resized.observe(box);
        const recolour = () => drawn.recolour();
        const dark = matchMedia("(prefers-color-scheme: dark)");
        dark.addEventListener("change", recolour);
        addEventListener(THEME_CHANGED, recolour);
        document.addEventListener("fullscreenchange", recolour);
        return () => {
            scene.current = null;
            drawn.destroy();
            resized.disconnect();
            dark.removeEventListener("change", recolour);
            removeEventListener(THEME_CHANGED, recolour);
            document.removeEventListener("fullscreenchange", recolour);
        };
    }, [name]);
    return html`<div class="scene">
        <canvas ref=${canvas} role="img" aria-label="Requests flow from the gateway to its nodes and back. The same as a list: choose List above."></canvas>
    </div>`;
}

const TIERS = [
    ["b", "measured"],
    ["c", "measured in part"],
    ["d", "from a gauge"],
    ["e", "estimated"],
    ["x", "not known"],
];

function Legend() {
    return html`<ul class="live-legend" aria-label="Colours of energy">
        ${TIERS.map(([tier, text]) => html`<li><span class=${`swatch energy-${tier}`} aria-hidden="true"></span> ${text}</li>`)}
    </ul>`;
}

/** Says how things stand, now and then, to those who listen. */
function Spoken({ model }) {
    const [text, setText] = useState("");
    useEffect(() => {
        const timer = setInterval(() => setText(spoken(model.current.figures())), SPEAK);
        return () => clearInterval(timer);
    }, []);
    return html`<p class="unseen" role="status">${text}</p>`;
}

function FullScreen({ wall }) {
    const [full, setFull] = useState(false);
    useEffect(() => {
        const changed = () => setFull(document.fullscreenElement !== null);
        document.addEventListener("fullscreenchange", changed);
        return () => document.removeEventListener("fullscreenchange", changed);
    }, []);
    useAwake(full);
    if (!document.fullscreenEnabled) return null;
    const toggle = () => (full ? document.exitFullscreen() : wall.current.requestFullscreen());
    return html`<${Button} onClick=${toggle}>${full ? "Leave full screen" : "Full screen"}<//>`;
}

/** A screen on a wall doesn't go to sleep. */
function useAwake(wanted) {
    useEffect(() => {
        if (!wanted) return undefined;
        const lock = navigator.wakeLock?.request("screen").catch(() => null);
        return () => lock?.then((held) => held?.release());
    }, [wanted]);
}
