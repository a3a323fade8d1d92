/** Rows for a spreadsheet (RFC 4180). */

/** @param {[string, (row: object) => any][]} columns Names and what stands below them. */
export function csv(columns, rows) {
    const lines = [columns.map(([name]) => name), ...rows.map((row) => columns.map(([, cell]) => cell(row)))];
    return lines.map((cells) => `${cells.map(written).join(",")}\r\n`).join("");
}

function written(cell) {
    const text = harmless(String(cell ?? ""));
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** No spreadsheet takes it for a formula: names come from anybody, and who opens the table trusts it. Source: OWASP. */
function harmless(text) {
    return /^\s*[=+\-@＝＋－＠|%]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
}

/** Hands a text to the person as a file. */
export function download(name, text, type = "text/csv;charset=utf-8") {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    link.click();
    // The browser reads it after the click.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
