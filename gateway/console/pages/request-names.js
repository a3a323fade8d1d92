/** Names for the ids that requests bear. */
import { get } from "../api.js";

/**
 * Nodes that this person may see, and those that are known by their prices alone.
 *
 * @returns {Promise<{ id: string, name: ?string }[]>}
 */
export async function nodesKnown() {
    const [{ data: seen }, { data: prices }] = await Promise.all([get("/api/nodes"), get("/api/prices")]);
    const named = new Map(prices.map(({ node }) => [node, null]));
    for (const { id, name } of seen) named.set(id, name);
    return [...named].map(([id, name]) => ({ id, name }));
}

/** Names of models that are served now. */
export async function modelsKnown() {
    const { data: prices } = await get("/api/prices");
    return [...new Set(prices.map(({ model_name: name }) => name).filter(Boolean))].sort();
}

/** A map from ids to names, of all that have one. */
export function named(things) {
    return new Map((things ?? []).filter(({ name }) => name).map(({ id, name }) => [id, name]));
}

/** An id that leaves room for other things, still told from its neighbours. */
export function short(id) {
    return id.length > 16 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
}
