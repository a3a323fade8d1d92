/** Server-sent events off a reply's body. Source: WHATWG HTML, section 9.2.6. */

/** Yields `{ event, data }` for each event and `{ comment }` for each comment, in the order of their lines. */
export async function* events(body) {
    let event = "message";
    let data = [];
    for await (const line of lines(body)) {
        if (line === "") {
            if (data.length > 0) yield { event, data: data.join("\n") };
            [event, data] = ["message", []];
            continue;
        }
        const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (line.startsWith(":")) yield { comment: value };
        else if (field === "event") event = value;
        else if (field === "data") data.push(value);
    }
}

async function* lines(body) {
    let rest = "";
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            const found = (rest + value).split(/\r\n|\n|\r(?!$)/);
            rest = found.pop();
            yield* found;
        }
    } finally {
        // Whoever stops reading ends the reply: the gateway then ends the answer on its node.
        await reader.cancel().catch(() => {});
    }
}
