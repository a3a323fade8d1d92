/** Puts questions to the verifier in WebAssembly: JSON on standard input, a list; the answers come as a list. */
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));

function ask(question) {
    const { memory, room, verify, answer } = new WebAssembly.Instance(module).exports;
    const bytes = new TextEncoder().encode(JSON.stringify(question));
    const at = room(bytes.length);
    new Uint8Array(memory.buffer, at, bytes.length).set(bytes);
    const length = verify();
    return JSON.parse(new TextDecoder().decode(new Uint8Array(memory.buffer, answer(), length)));
}

console.log(JSON.stringify(JSON.parse(await text(process.stdin)).map(ask)));
