/** What the live view knows: nodes, what runs on them, and what came together. Pure, but for the clock that it is given. */

/** Seconds over which rates are averaged. */
const WINDOW = 10;
const MOST_RECENT = 12;

/**
 * @typedef {{ node: string, region: string | null, slots: number, tier: string, running: number, ended: number, tokens: number, microjoules: number }} LiveNode
 */

export class LiveModel {
    /** @type {Map<string, LiveNode>} */
    nodes = new Map();
    /** The latest attempts that ended, the newest first. */
    recent = [];
    missed = 0;
    summaries = [];

    /** Takes in one event. True when the nodes may be others, or stand elsewhere. */
    hear({ event, data }, now) {
        const hearers = { nodes: this.connected, began: this.began, ended: this.ended, summary: this.summed, missed: this.lost };
        return hearers[event]?.call(this, data, now) ?? false;
    }

    /** The connection is new: what was counted before may be another replica's. */
    reset() {
        this.summaries = [];
    }

    /** All nodes, now and again: what runs on them is counted anew, whatever was missed. */
    connected({ data }) {
        const there = new Set(data.map(({ node }) => node));
        for (const id of this.nodes.keys()) if (!there.has(id)) this.nodes.delete(id);
        for (const each of data) Object.assign(this.node(each.node), each);
        return true;
    }

    began({ node, region }) {
        const isNew = !this.nodes.has(node);
        const at = this.node(node);
        at.region = region ?? at.region;
        at.running += 1;
        return isNew;
    }

    ended(ended) {
        const isNew = !this.nodes.has(ended.node);
        const at = this.node(ended.node);
        at.running = Math.max(0, at.running - 1);
        at.ended += 1;
        at.tokens += ended.tokens;
        at.microjoules += ended.microjoules ?? 0;
        this.recent = [ended, ...this.recent].slice(0, MOST_RECENT);
        return isNew;
    }

    summed(summary, now) {
        const last = this.summaries.at(-1);
        // Counts that go back are those of another life of the gateway, or of another replica.
        if (last && summary.ended < last.ended) this.summaries = [];
        this.summaries = [...this.summaries, { ...summary, at: now }].slice(-WINDOW - 1);
    }

    lost({ count }) {
        this.missed += count;
    }

    node(id) {
        const unknown = { node: id, region: null, slots: 1, tier: "X", running: 0, ended: 0, tokens: 0, microjoules: 0 };
        if (!this.nodes.has(id)) this.nodes.set(id, unknown);
        return this.nodes.get(id);
    }

    /** Totals since the gateway began, and rates over the last seconds; null before the first summary. */
    figures() {
        const [first, last] = [this.summaries[0], this.summaries.at(-1)];
        if (!last) return null;
        const seconds = Math.max(1, (last.at - first.at) / 1000);
        const rate = (field) => (last[field] - first[field]) / seconds;
        return {
            running: last.running,
            nodes: last.nodes,
            attempts: last.ended,
            tokens: last.tokens,
            microjoules: last.microjoules,
            micrograms: last.micrograms_co2e,
            tokensPerSecond: rate("tokens"),
            watts: rate("microjoules") / 1e6,
            attemptsPerSecond: rate("ended"),
        };
    }
}
