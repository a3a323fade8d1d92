/** Where in the console one is: `#/keys?range=7d`, `#/requests/<id>`. */
import { useEffect, useState } from "./html.js";

/** @returns {{ name: string, parameters: Record<string, string> }} `parameters.id` is what stands behind the page's name. */
export function here() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [name, id] = path.split("/").map(plain);
    const parameters = Object.fromEntries(new URLSearchParams(query));
    return { name, parameters: id ? { ...parameters, id } : parameters };
}

/** The address of a page, for links. Of `parameters` what is empty is left out; `id` stands in the path. */
export function address(name, { id, ...parameters } = {}) {
    const given = Object.entries(parameters).filter(
        ([, value]) => value !== undefined && value !== null && value !== "",
    );
    const query = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
    return `#/${name}${id ? `/${encodeURIComponent(id)}` : ""}${query}`;
}

/** Goes to a page. `replace` leaves no step back, for what changes while one types. */
export function navigate(name, parameters, { replace = false } = {}) {
    const to = address(name, parameters);
    if (to === location.hash) return;
    history[replace ? "replaceState" : "pushState"](null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
}

/** The present place, kept up to date. */
export function useHere() {
    const [place, setPlace] = useState(here);
    useEffect(() => {
        const moved = () => setPlace(here());
        addEventListener("hashchange", moved);
        return () => removeEventListener("hashchange", moved);
    }, []);
    return place;
}

function plain(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}
