"""Makes an epoch again without any program of ours: python3 epoch.py FOLDER [NUMBER], of a folder of `commonwatt verify copy`.

Every entry of the log is hashed to the root that the epoch states (RFC 6962) and to the one that the checkpoint has, every
document is held against its entry, every receipt against the keys that the log tells of, and then every statement and every
total is added up anew, to the nanocredit and the microjoule. Who has signed the checkpoint, whether a receipt's figures follow
from each other, and by which split and price it goes, `commonwatt verify epoch` looks at too.
"""

import base64
import hashlib
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import jwt

folder, wrong = Path(sys.argv[1]), []


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf(entry):
    return sha256(b"\0", entry)


class Tree:
    """The roots of full subtrees, the largest first; each leaf joins those of its size."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def add(self, leaf):
        self.size, size = self.size + 1, self.size
        while size % 2:
            leaf, size = sha256(b"\1", self.peaks.pop(), leaf), size // 2
        self.peaks.append(leaf)

    def root(self):
        roots = reversed(self.peaks)
        return reduce(lambda root, peak: sha256(b"\1", peak, root), roots) if self.peaks else sha256()


def path_of(index, width):
    """Of a bundle of 256 entries or, at the end, fewer, as tlog-tiles writes its number."""
    *before, last = [f"{group:0>3}" for group in f"{index:,}".split(",")]
    return "/".join([f"x{group}" for group in before] + [last]) + (f".p/{width}" if width < 256 else "")


def entries(size):
    """Each entry of the log with its document, which may be missing."""
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        bundle = (folder / "tile/entries" / path_of(index, width)).read_bytes()
        documents = (folder / "documents" / path_of(index, width)).read_bytes().split(b"\n")
        for document in documents[:width]:
            length = int.from_bytes(bundle[:2])
            yield bundle[2 : 2 + length], document
            bundle = bundle[2 + length :]


origin, size, root = (folder / "checkpoint").read_text().split("\n")[:3]
listed = {row["number"]: row for row in json.loads((folder / "epochs").read_text())["data"]}
number = int(sys.argv[2]) if len(sys.argv) > 2 else max(listed)
closed = (folder / "document" / listed[number]["document"]).read_bytes()
epoch = json.loads(closed)
first, end = epoch["epoch"]["first_index"], epoch["epoch"]["end_index"]
tree, trees = Tree(), defaultdict(Tree)
keys, statements, lines, totals = {}, {}, defaultdict(dict), defaultdict(int)
logged, before, at_end = None, None, None if end else tree.root()


def add(entry, token):
    """Counts a receipt for everybody who has a share in it, and in all."""
    receipt = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["EdDSA"])
    shares, energy = receipt.get("shares") or {}, receipt.get("energy") or {}
    figures = {"receipts": 1, "income": receipt["nanocredits"]}
    figures |= {name: receipt[name] for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}
    figures |= {name: energy.get(name, 0) for name in ("microjoules", "micrograms_co2e")}
    day = datetime.fromtimestamp(receipt["started_at"] // 10**6, UTC).date().isoformat()
    of = defaultdict(int)
    for party, part in (epoch["nodes"][receipt["node"]], "operator"), ("gateway", "gateway"), ("audit_fund", "audit_fund"):
        of[party] += shares.get(part, 0)
    for author in shares.get("authors", []):
        of["author:" + author["author"]] += author["nanocredits"]
    for party, share in of.items():
        line = lines[party].setdefault((receipt["model"], day, energy.get("tier", "")), defaultdict(int))
        for name, figure in (figures | {"share": share}).items():
            line[name] += figure
        trees[party].add(leaf(entry))
    figures |= {"alone": "alone" in receipt, "facility_microjoules": energy.get("facility_microjoules", 0)}
    for name, figure in figures.items():
        totals[name] += figure


for index, (entry, document) in enumerate(entries(int(size))):
    kind, digest = entry.decode().split(" sha256:")
    tree.add(leaf(entry))
    if tree.size == end:
        at_end = tree.root()
    if document and hashlib.sha256(document).hexdigest() != digest:
        wrong.append(f"entry {index}: the document is another")
    elif kind == "key":
        keys[json.loads(document)["kid"]] = jwt.PyJWK.from_json(document.decode())
    elif kind == "receipt" and first <= index < end:
        try:
            add(entry, document.decode())
        except (jwt.PyJWTError, KeyError) as error:
            wrong.append(f"entry {index}: {error!r}")
    elif kind == "statement":
        statements[digest] = json.loads(document)
    elif kind == "epoch" and json.loads(document)["epoch"]["number"] == number - 1:
        before = json.loads(document)
    elif kind == "epoch" and document == closed:
        logged = index

if tree.root() != base64.b64decode(root):
    wrong.append("the entries do not lead to the root that is signed")
if at_end is None or at_end.hex() != epoch["root"]:
    wrong.append(f"the epoch states the root {epoch['root']}, and the log had {at_end and at_end.hex()}")
wrong += ["the epoch's document is not in the log"] * (logged is None)
openings = {party: statements[digest]["closing"] for party, digest in (before or {}).get("statements", {}).items()}
if (number > 1) != (before is not None) or (before and before["epoch"]["end_index"] != first):
    wrong.append("it does not go on from the epoch before")

for party in sorted({party for party, owed in openings.items() if owed} | set(lines) | set(epoch["statements"])):
    said = statements.get(epoch["statements"].get(party))
    if said is None or said["party"] != party:
        wrong.append(f"{party} has no statement in the log")
        continue
    totals["paid_out"] += sum(abs(moved["nanocredits"]) for moved in said["movements"] if moved["kind"] == "payout")
    due = [dict(zip(("model", "day", "tier"), kind), **line) for kind, line in sorted(lines[party].items())]
    # What was owed before the first epoch, only its statements say.
    opening = openings.get(party, 0) if before else said["opening"]
    earned = sum(line["share"] for line in due)
    closing = opening + earned + sum(moved["nanocredits"] for moved in said["movements"])
    tree = trees[party]
    made = {"opening": opening, "lines": due, "closing": closing, "receipts": tree.size, "root": tree.root().hex()}
    wrong += [f"{party}: {name} is {said[name]}, and should be {made[name]}" for name in made if said[name] != made[name]]
    print(f"{party}: {opening} + {earned} of {tree.size} receipts, closes with {closing}")

said = epoch["totals"]
wrong += [f"{name} is {said[name]} in all, and should be {totals[name]}" for name in said if said[name] != totals[name]]
print(f"epoch {number} of {origin}: " + ", ".join(f"{totals[name]} {name}" for name in said))
print(*wrong, sep="\n") if wrong else print("every statement and every total comes out")
sys.exit(bool(wrong))
