"""Fails when a link of the documentation leads to no file, or to no heading. Addresses of others are not asked."""

import re
import sys

from system import PROJECT

PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md"), PROJECT / "migrations/README.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """Those of headings as GitHub makes them, and those that were set by hand."""
    text = without_code(path.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def broken(page):
    for link in LINK.findall(without_code(page.read_text())):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            yield link
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            yield link


def main():
    wrong = [f"{page.relative_to(PROJECT)}: {link}" for page in PAGES for link in broken(page)]
    if wrong:
        sys.exit("links that lead nowhere:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
