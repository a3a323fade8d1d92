"""The gateway's own description, held against a running gateway by Schemathesis: whatever is sent, nothing fails, and every
answer has a status, a content type and a form that the description knows.

`tests/sdk/run description` installs it and runs this; BASE_URL, API_KEY and MODEL say which gateway. MANAGEMENT_KEY of an
account without nodes and ADMIN_TOKEN let it manage too: never do that where others have accounts. COMMONWATT_EXAMPLES says
how many random requests each operation gets, beside those that try each bound of the description (4 if not set).
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from urllib.request import urlopen

BASE = os.environ["BASE_URL"].removesuffix("/v1")
MODEL = os.environ["MODEL"]
EXAMPLES = os.environ.get("COMMONWATT_EXAMPLES", "4")
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
# Of these a manager knows no key: it would soon end its own, with which all others are tried.
KEYS = [("DELETE", "/api/keys/{id}"), ("PATCH", "/api/keys/{id}"), ("POST", "/api/keys/{id}/rotate")]
# Goes on for a quarter of an hour.
ENDLESS = ("GET", "/api/live")
# Wrong passwords count against everybody at this address.
SIGNING_IN = ("POST", "/api/sessions")
# An administrator has the node that every test needs: beside what is read, only this is tried.
ADMINISTRATOR = [("POST", "/api/enrolment-tokens"), ("POST", "/api/ledger/events")]
METHODS = ["get", "put", "post", "patch", "delete"]


def description():
    with urlopen(f"{BASE}/openapi.json", timeout=30) as reply:
        return json.load(reply)


def keep(document, is_meant):
    """Takes out all operations but some."""
    for path, operations in document["paths"].items():
        for method in [method for method in METHODS if method in operations]:
            if not is_meant(method.upper(), path):
                del operations[method]
    document["paths"] = {path: operations for path, operations in document["paths"].items() if operations}
    return document


def is_managed(path):
    return path.startswith(("/api/", "/v1/organization/"))


def shorten(schema, known):
    """Small values say as much as large ones, and the model is small too."""
    if isinstance(schema, list):
        for item in schema:
            shorten(item, known)
        return
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "array" in kinds:
        schema["maxItems"] = min(schema.get("maxItems", 3), max(3, schema.get("minItems", 0)))
    if "string" in kinds and "enum" not in schema and "pattern" not in schema:
        schema["maxLength"] = min(schema.get("maxLength", 24), 24)
    for name, property in schema.get("properties", {}).items():
        if name in known:
            property.update(known[name])
    for value in schema.values():
        shorten(value, known)


def for_a_small_model(document):
    """The same description for requests that a small model on a processor answers within a second."""
    schemas = document["components"]["schemas"]
    most = {"type": "integer", "minimum": 1, "maximum": 4}
    known = {"model": {"enum": [MODEL]}, "n": {"maximum": 2}, "best_of": {"maximum": 2}}
    limits = {"max_tokens": most, "max_completion_tokens": most, "max_output_tokens": most}
    for name in ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "ResponseRequest"]:
        shorten(schemas[name], known | limits)
        limit = next((limit for limit in limits if limit in schemas[name]["properties"]), None)
        schemas[name]["required"] += [limit] if limit else []
    # What no node here can give is refused with 503, as it should be; these rule none out.
    fields = schemas["Provider"]["properties"]
    schemas["Provider"]["properties"] = {name: fields[name] for name in ["order", "sort", "hedge_after_ms"]}
    for name in ["Message", "Prompt", "Provider", "Tool", "ToolChoice", "ResponseFormat", "InputItem"]:
        shorten(schemas[name], {})
    return document


class Description(unittest.TestCase):
    def check(self, document, key, phases):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "openapi.json")
            file.write_text(json.dumps(document))
            # What was left out of the description is not to be tried all the same.
            Path(folder, "schemathesis.toml").write_text("[phases.coverage]\nunexpected-methods = []\n")
            run = subprocess.run(
                [
                    *[sys.executable, "-B", "-m", "schemathesis.cli", "run", file, "--url", BASE],
                    *["--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS), "--seed", "1"],
                    *["--max-examples", EXAMPLES, "--continue-on-failure", "--request-timeout", "120"],
                    *["--phases", phases, "--suppress-health-check", "all", "--warnings", "off", "--no-color"],
                ],
                cwd=folder,
                capture_output=True,
                text=True,
            )
        self.assertEqual(run.returncode, 0, f"{run.stdout}\n{run.stderr}")
        print(next((line for line in run.stdout.splitlines() if "generated" in line), run.stdout).strip())

    def test_every_answer_to_an_inference_key_is_as_described(self):
        document = keep(description(), lambda _, path: path.startswith("/v1/") and not is_managed(path))
        self.check(for_a_small_model(document), os.environ["API_KEY"], "fuzzing,stateful")

    @unittest.skipUnless("MANAGEMENT_KEY" in os.environ, "MANAGEMENT_KEY of an account without nodes is not set")
    def test_every_answer_to_the_manager_of_an_account_is_as_described(self):
        left_out = [*KEYS, SIGNING_IN, ENDLESS]
        document = keep(description(), lambda method, path: is_managed(path) and (method, path) not in left_out)
        self.check(document, os.environ["MANAGEMENT_KEY"], "coverage,fuzzing")
        document = keep(description(), lambda method, path: (method, path) in KEYS)
        self.check(document, os.environ["MANAGEMENT_KEY"], "coverage,fuzzing")

    @unittest.skipUnless("ADMIN_TOKEN" in os.environ, "ADMIN_TOKEN is not set")
    def test_every_answer_to_an_administrator_is_as_described(self):
        document = keep(
            description(),
            lambda method, path: is_managed(path)
            and (method, path) != ENDLESS
            and (method == "GET" or (method, path) in ADMINISTRATOR),
        )
        self.check(document, os.environ["ADMIN_TOKEN"], "fuzzing")


if __name__ == "__main__":
    unittest.main()
