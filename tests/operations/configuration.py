"""Writes docs/configuration.md from what the programs say of themselves with --help.

`make docs` writes it, `make docs-check` (--check) fails when it is not what the programs say.
"""

import difflib
import re
import subprocess
import sys

from system import PROJECT, program

PAGE = PROJECT / "docs/configuration.md"
HEAD = """# Configuration

Every setting is a flag, and most are a variable of the environment too; a flag wins, and a variable that is empty counts as not
given. A wrong value stops the start with a sentence that says what to do. This page is written by `make docs` from `--help`; change the help, not the page.
"""
PROGRAMS = {
    "commonwatt": ["serve", "up", "admin", "verify", "with-postgres"],
    "commonwatt-node": ["serve", "pull", "doctor", "rotate-key"],
}
OPTION = re.compile(r"\s{2,6}(?:-\w, )?(--[\w-]+)(?: <([\w-]+)>)?\s*(.*)")


def told(*command):
    name, *rest = command
    # No environment: its values would stand in the page.
    help = subprocess.run([program(name), *rest, "--help"], capture_output=True, text=True, env={}, check=True)
    return help.stdout


def commands(text):
    """Names of the commands that a command has."""
    block = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    names = re.findall(r"^  ([a-z-]+) ", block[1], re.MULTILINE) if block else []
    return [name for name in names if name != "help"]


def options(text):
    """Each option as (name, value, words); an option's words go on until the next one begins."""
    found = []
    for line in text.partition("\nOptions:\n")[2].splitlines():
        if begins := OPTION.fullmatch(line):
            name, value, words = begins.groups()
            found.append((name, value, [words] if words else []))
        elif found and line.strip():
            found[-1][2].append(line.strip())
    return [(name, value, " ".join(words)) for name, value, words in found if name not in ("--help", "--version")]


def cell(text):
    return text.replace("|", "\\|")


def row(name, value, words):
    env = re.search(r"\[env: (\w+)=?\]", words)
    default = re.search(r"\[default: ([^\]]+)\]", words)
    values = re.search(r"\[possible values: ([^\]]+)\]", words)
    words = re.sub(r"\s*\[(?:env|default|possible values): [^\]]*\]", "", words)
    # The longer kind of help has a list of what each value means.
    words = re.sub(r"\s*Possible values: - ", ". One of: ", words).replace(" - ", "; ")
    words = " ".join(words.split())
    if not words.endswith("."):
        words += "."
    if values:
        words += f" One of: {values[1]}."
    shown = f"`{name} …`" if value else f"`{name}`"
    return f"| {shown} | {f'`{env[1]}`' if env else ''} | {f'`{default[1]}`' if default else ''} | {cell(words)} |"


def section(depth, *command):
    text = told(*command)
    about = " ".join(text.partition("\nUsage:")[0].split())
    lines = [f"\n{'#' * depth} {' '.join(command)}\n", f"{about}.\n"]
    if rows := [row(*option) for option in options(text)]:
        lines += ["| flag | environment | default | |\n|---|---|---|---|", *rows, ""]
    for name in commands(text):
        lines.append(section(depth + 1, *command, name))
    return "\n".join(lines)


def page():
    parts = [section(2, name, command) for name, names in PROGRAMS.items() for command in names]
    return re.sub(r"\n{3,}", "\n\n", HEAD + "".join(parts)).rstrip() + "\n"


def main():
    now = page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(now)
        return
    written = PAGE.read_text()
    if now != written:
        sys.stdout.writelines(difflib.unified_diff(written.splitlines(True), now.splitlines(True), "written", "now"))
        sys.exit("docs/configuration.md is not what the programs say: run 'make docs' and commit the result")


if __name__ == "__main__":
    main()
