"""The examples of the documentation, run as a reader would run them.

`tests/sdk/run examples` installs OpenAI's SDKs and runs this; BASE_URL, API_KEY and MODEL say which gateway, ADMIN_TOKEN is
a management key, and NODE_MODULES is where the SDK for Node lies. Each block of Python, JavaScript or shell in these pages
is a program of its own, and has to end well and say something.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

DOCUMENTS = Path(__file__).resolve().parents[3] / "docs"
PAGES = ["api.md", "quickstart-developers.md", "quickstart-auditors.md"]
# What the pages tell readers to set.
ENVIRONMENT = {
    **os.environ,
    "OPENAI_BASE_URL": os.environ["BASE_URL"],
    "OPENAI_API_KEY": os.environ["API_KEY"],
}
TRIES = 3
BLOCK = re.compile(r"^```(python|js|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def command(language, program, folder):
    if language == "python":
        return [sys.executable, "-c", program]
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", program]
    script = Path(folder) / "example.mjs"
    script.write_text(program)
    return ["node", str(script)]


def blocks(page):
    """Each block with the heading that it stands under."""
    text = (DOCUMENTS / page).read_text()
    for found in BLOCK.finditer(text):
        headings = re.findall(r"^#+ (.+)$", re.sub(BLOCK, "", text[: found.start()]), re.MULTILINE)
        yield headings[-1], *found.groups()


class Examples(unittest.TestCase):
    def test_every_example_runs_and_says_something(self):
        for page in PAGES:
            for heading, language, program in blocks(page):
                program = program.replace("smollm2-135m-instruct", os.environ["MODEL"])
                with self.subTest(page=page, heading=heading, language=language):
                    self.run_example(language, program)

    def run_example(self, language, program):
        if "ADMIN_TOKEN" in program and "ADMIN_TOKEN" not in os.environ:
            self.skipTest("there is no ADMIN_TOKEN")
        if language == "js" and "NODE_MODULES" not in os.environ:
            self.skipTest("there is no node")
        # On a machine that does much else a node can be too slow for its gateway, which says so. A reader asks again.
        for _ in range(TRIES):
            ran = self.run_once(language, program)
            if "node_failed" not in ran.stdout + ran.stderr:
                break
        self.assertEqual(ran.returncode, 0, f"{program}\n{ran.stdout}{ran.stderr}")
        self.assertTrue(ran.stdout.strip(), f"said nothing:\n{program}\n{ran.stderr}")
        if os.environ.get("SHOW_EXAMPLES"):
            print(f"--- {language}\n{ran.stdout}")

    def run_once(self, language, program):
        # Node looks for modules beside the importing file.
        with tempfile.TemporaryDirectory(dir=os.environ.get("NODE_MODULES")) as folder:
            return subprocess.run(
                command(language, program, folder), env=ENVIRONMENT, capture_output=True, text=True, timeout=600
            )

    def test_there_are_examples_in_each_language(self):
        languages = {language for page in PAGES for _, language, _ in blocks(page)}
        self.assertEqual(languages, {"python", "js", "sh"})
