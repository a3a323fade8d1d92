/** What to do about an answer that did not come. */

const BY_CODE = {
    insufficient_quota: "Lower “Most tokens”, or ask an administrator to top the account up.",
    model_not_found: "Choose another model, or a key that may ask this one.",
    ip_not_authorized: "Use a key that is allowed on this network.",
    context_length_exceeded: "Clear the conversation, or say less at once.",
    node_failed: "Press “Try again”: a node’s failure costs nothing.",
    request_too_large: "Clear the conversation, or say less at once.",
};

const BY_STATUS = {
    0: "Check the connection, then press “Try again”.",
    401: "The key is wrong, has expired or was revoked: give another one, or make one for this page.",
    403: "Use a key for inference that may be used from here.",
    429: "Lower “Most tokens”, or use a key with a higher limit.",
    500: "Press “Try again”; if it stays, tell the gateway’s operator.",
    502: "Press “Try again”: a node’s failure costs nothing.",
    503: "Ask less of the nodes (node, region, tier), or press “Try again” later.",
};

/** @param {{status: number, code: ?string, retryAfter: ?number, field: ?string}} failure */
export function advice({ status, code, retryAfter, field }) {
    if (retryAfter) return `Press “Try again” in ${retryAfter} s.`;
    if (BY_CODE[code]) return BY_CODE[code];
    if (field) return "Change the setting that is named, then press “Try again”.";
    return BY_STATUS[status] ?? "Change what is named, then press “Try again”.";
}
