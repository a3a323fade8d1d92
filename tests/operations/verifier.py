"""Compiles the verifier of receipts to WebAssembly, for the page at /verify.

`make verifier` writes it, and beside it a hash of what it was made of. `make verifier-check` (--check) fails when that has
changed since, or when the module doesn't say of the files in tests/receipts what the program says. Compilers of two machines
may give different bytes for the same source, so the bytes themselves are not compared.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from system import CACHE, PROJECT, program, skip

MODULE = PROJECT / "gateway/console/vendor/verifier.wasm"
MADE_OF = MODULE.with_suffix(".sources")
PACKAGE = "openapi-wasm"
TARGET = "wasm32-unknown-unknown"
CARGO = os.environ.get("CARGO", "cargo")
RECEIPTS = PROJECT / "tests/receipts"
CASES = [
    {"receipt": "paid.json", "keys": "keys.json", "policy": "policy.txt", "request": "request.json", "answer": "answer.sse"},
    {"receipt": "paid.jws", "keys": "keys.json", "policy": "policy.txt", "proof": "paid.tlog-proof"},
    {"receipt": "paid.jws"},
    {"receipt": "paid.json", "keys": "keys.json", "request": "answer.json", "answer": "request.json"},
    {"receipt": "alone.json", "keys": "keys.json", "answer": "answer.json"},
    {"receipt": "overcharged.json", "keys": "keys.json", "policy": "policy.txt"},
    {"receipt": "forged.json", "keys": "keys.json"},
    {"receipt": "keys.json"},
    {"receipt": "paid.json", "keys": "policy.txt"},
    {"receipt": "paid.json", "policy": "keys.json"},
    {"receipt": "paid.json", "proof": "answer.sse"},
]


def cargo(*arguments, **more):
    return subprocess.run([CARGO, *arguments], cwd=PROJECT, check=True, text=True, **more)


def sources():
    """A hash of every file that is compiled, and of the names and versions of what it depends on."""
    digest = hashlib.sha256()
    paths = [*(PROJECT / "openapi/src").rglob("*.rs"), *(PROJECT / "openapi/wasm/src").rglob("*.rs")]
    for path in sorted(path for path in paths if "tests" not in path.relative_to(PROJECT).with_suffix("").parts):
        digest.update(f"{path.relative_to(PROJECT).as_posix()}\n".encode() + path.read_bytes())
    tree = ["tree", "--locked", "--package", PACKAGE, "--target", TARGET, "--edges", "normal", "--prefix", "none"]
    told = cargo(*tree, "--format", "{p} {f}", capture_output=True).stdout
    # Of packages of ours it names the folder.
    digest.update("\n".join(sorted({line.split(" (")[0] for line in told.splitlines()})).encode())
    return digest.hexdigest()


def build():
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    # Whoever panics names the file: let it not be one of this machine's.
    flags = f"--remap-path-prefix={home}=/cargo --remap-path-prefix={PROJECT}=/commonwatt"
    folder = CACHE / "verifier"
    arguments = ["build", "--locked", "--package", PACKAGE, "--target", TARGET, "--profile", "verifier"]
    environment = {**os.environ, "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS": flags}
    try:
        cargo(*arguments, "--target-dir", str(folder), env=environment)
    except subprocess.CalledProcessError:
        sys.exit(f"the verifier does not compile; if the target is missing: rustup target add {TARGET}")
    shutil.copyfile(folder / TARGET / "verifier/openapi_wasm.wasm", MODULE)
    MADE_OF.write_text(f"{sources()}\n")
    print(f"{MODULE.relative_to(PROJECT)}: {MODULE.stat().st_size} bytes")


def said_by_the_program(case):
    arguments = [str(RECEIPTS / case["receipt"]), "--json"]
    for kind in case.keys() - {"receipt"}:
        arguments += [f"--{kind}", str(RECEIPTS / case[kind])]
    told = subprocess.run([program("commonwatt"), "verify", "receipt", *arguments], capture_output=True, text=True)
    return json.loads(told.stdout or told.stderr)


def said_by_the_module(cases):
    node = shutil.which("node") or skip("there is no node, so the verifier in WebAssembly was not run.")
    questions = [{kind: (RECEIPTS / name).read_text() for kind, name in case.items()} for case in cases]
    told = subprocess.run(
        [node, PROJECT / "tests/operations/verifier.mjs", MODULE],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(told.stdout)


def check():
    if MADE_OF.read_text().strip() != sources():
        sys.exit(f"{MODULE.relative_to(PROJECT)} is older than its sources: run 'make verifier' and commit the result")
    for case, said in zip(CASES, said_by_the_module(CASES), strict=True):
        expected = said_by_the_program(case)
        if said != expected:
            sys.exit(f"of {case} the program says\n{expected}\nand the module\n{said}")
    print(f"the verifier in WebAssembly says what the program says, of {len(CASES)} sets of files")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["--check"] else build()
