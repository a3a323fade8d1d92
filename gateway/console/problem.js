/**
 * What the gateway refuses with, on `/api` (RFC 9457) as on `/v1` (OpenAI's shape), and what went wrong on the way to it.
 * `field` is the body's field that the refusal names, if it names one.
 */
export class Problem extends Error {
    constructor({ status, title, detail, field = null, code = null, retryAfter = null }) {
        super(detail);
        Object.assign(this, { name: "Problem", status, title, detail, field, code, retryAfter });
    }

    /** The request never arrived, or its reply never did. */
    static unreachable() {
        return new Problem({
            status: 0,
            title: "No reply",
            detail: "The gateway can't be reached. Check the connection and try again.",
        });
    }

    /** Reads a refusal off a reply. */
    static async of(response) {
        const text = await response.text().catch(() => "");
        const body = parsed(text);
        const said = body.error ?? body;
        const detail = said.detail ?? said.message ?? `The gateway answered with status ${response.status}.`;
        return new Problem({
            status: response.status,
            title: body.title ?? response.statusText ?? "Error",
            detail,
            field: said.param ?? namedField(detail),
            code: said.code ?? null,
            retryAfter: Number(response.headers.get("retry-after")) || null,
        });
    }
}

function parsed(text) {
    try {
        return JSON.parse(text) ?? {};
    } catch {
        return {};
    }
}

/** The management API names a field as `field` in its sentence. */
function namedField(detail) {
    return /`([a-z_]+)`/.exec(detail)?.[1] ?? null;
}
