"""Verifies a receipt without any program of ours: python3 receipt.py receipt.json keys.json policy.txt

Who signed it, by PyJWT; that the log's tree has it, by RFC 9162, section 2.1.3.2; and that the log has signed that tree.
What witnesses say, and whether the figures follow from each other, `commonwatt verify receipt` looks at too.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

receipt, keys, policy = (Path(name).read_text() for name in sys.argv[1:4])
receipt = json.loads(receipt)
token = receipt["receipt"]

key = jwt.PyJWKSet.from_json(keys)[jwt.get_unverified_header(token)["kid"]]
claims = jwt.decode(token, key, algorithms=["EdDSA"])
print(f"{claims['id']}: {claims['completion_tokens']} tokens of the answer for {claims['nanocredits']} nanocredits")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


lines, note = receipt["proof"].split("\n\n", 1)
_, index, *hashes = lines.split("\n")
text, _, signatures = note.rpartition("\n\n")
origin, size, root = text.split("\n")[:3]
node, last = int(index.removeprefix("index ")), int(size) - 1
found = sha256(b"\0receipt sha256:", hashlib.sha256(token.encode()).hexdigest().encode())
for sibling in map(base64.b64decode, hashes):
    if node % 2 or node == last:
        found = sha256(b"\1", sibling, found)
        while node and not node % 2:
            node, last = node // 2, last // 2
    else:
        found = sha256(b"\1", found, sibling)
    node, last = node // 2, last // 2
assert last == 0 and found == base64.b64decode(root), "the proof leads to another tree"

name, _, log_key = next(line.split()[1] for line in policy.splitlines() if line.startswith("log ")).split("+", 2)
signature = next(line.split()[2] for line in signatures.splitlines() if line.split()[1] == origin == name)
# Before the key stands its kind, before the signature the key's id.
public = Ed25519PublicKey.from_public_bytes(base64.b64decode(log_key)[1:])
public.verify(base64.b64decode(signature)[4:], f"{text}\n".encode())
print(f"entry {index.removeprefix('index ')} of the log {origin}, in a tree of {size}")
