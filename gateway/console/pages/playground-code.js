/** The same request for a terminal and for Python. The key stays in the environment: what is shown may be shown around. */

const KEY_VARIABLE = "COMMONWATT_KEY";

/** @param {string} base Such as `https://gateway.example/v1`. */
export function curl(base, body) {
    return [
        `curl -N ${base}/chat/completions \\`,
        `  -H "Authorization: Bearer $${KEY_VARIABLE}" -H 'Content-Type: application/json' \\`,
        `  -d ${quoted(JSON.stringify(body, null, 2))}`,
    ].join("\n");
}

/** For a POSIX shell, where nothing within single quotes means anything but the quote itself. */
function quoted(text) {
    return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** For OpenAI's SDK, which takes fields that are not its own as `extra_body`. */
export function python(base, { provider, ...body }) {
    const given = Object.entries(provider ? { ...body, extra_body: { provider } } : body);
    return [
        "import os",
        "from openai import OpenAI",
        "",
        `client = OpenAI(base_url=${literal(base)}, api_key=os.environ["${KEY_VARIABLE}"])`,
        "stream = client.chat.completions.create(",
        ...given.map(([name, value]) => `    ${name}=${literal(value)},`),
        ")",
        "for chunk in stream:",
        "    if chunk.choices:",
        '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
        "    if chunk.usage:",
        '        print("\\n", chunk.usage.cost, chunk.usage.energy)',
    ].join("\n");
}

/** A JSON string is a Python string too; only the three names differ. */
function literal(value) {
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
    if (typeof value !== "object") return JSON.stringify(value);
    const fields = Object.entries(value).map(([name, field]) => `${JSON.stringify(name)}: ${literal(field)}`);
    return `{${fields.join(", ")}}`;
}
