"""Shows that an epoch's books can be recomputed by strangers, to the nanocredit and the microjoule.

A real gateway gets made-up requests, signs a receipt for each, logs them, and closes the epoch. Its operators and authors are
paid by what they are owed, and a second epoch is closed. Then all that is public is copied, and two programs that share nothing
recompute it from the copy alone: `commonwatt verify epoch`, and epoch.py beside this file. At last a byte of the copy is changed,
and both say so. `make books` runs it; COUNT says how many receipts.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from made_up import fill, psql
from system import System, ask, eventually, program, skip

COUNT = int(os.environ.get("COUNT", "2000"))
DAYS = 6
# It needs PyJWT, which this Python may lack.
EPOCH = [os.environ.get("PYTHON", sys.executable), "-B", str(Path(__file__).resolve().parent / "epoch.py")]
# What each node asks for each model, in force before the first request, and logged as the gateway logs what it is told.
PRICES = """
begin;
create temp table asked as select distinct a.node_id, q.model from attempts a join requests q on q.id = a.request_id;
insert into prices (node_id, model, prompt_nanocredits, cached_nanocredits, completion_nanocredits, effective_from, source)
    select node_id, model, 100, 100, 400, timestamptz '2026-01-01', 'operator' from asked;
create temp table told as
    select format('{"effective_from":"2026-01-01T00:00:00Z","model":%s,"node":"%s","price":{"prompt":100,"cached":100,"completion":400},'
        || '"source":"operator","v":1,"version":%s}', to_json(model), node_id, version) as document
    from prices where effective_from = timestamptz '2026-01-01';
insert into log_documents (kind, hash, document) select 'price-list', sha256(convert_to(document, 'UTF8')), document from told;
insert into log_queue (kind, hash) select 'price-list', sha256(convert_to(document, 'UTF8')) from told;
commit;
"""
# Every attempt's receipt is to be signed, in the words that the gateway itself has left for the request that was real. What its
# node said of that is of no use to others: here the gateway signs alone.
RECEIPTS = """
insert into receipts (request_id, attempt, node_id, noted)
select a.request_id, a.attempt, a.node_id, real.noted || jsonb_build_object('is_attached', true, 'authors', array['made up'],
        'is_paid', q.nanocredits > 0 and a.attempt = (select max(attempt) from attempts l where l.request_id = q.id),
        'model', q.model, 'price_version', p.version,
        'price', jsonb_build_object('prompt', 100, 'cached', 100, 'completion', 400))
    from attempts a join requests q on q.id = a.request_id
        join prices p on p.node_id = a.node_id and p.model = q.model and p.effective_from = timestamptz '2026-01-01',
        (select noted from receipts limit 1) as real
    where not exists (select from receipts r where r.request_id = a.request_id and r.attempt = a.attempt);
"""


def run(*command):
    """What a program says, and whether it found fault."""
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip(), time.monotonic() - begun


def sign(system):
    """Waits until every receipt is signed and logged."""
    psql(system, PRICES)
    eventually("the prices are logged", lambda: psql(system, "select count(*) from log_queue") == "0")
    # What was made up just now no statistics know of yet, and a join that goes by none takes hours.
    psql(system, "analyze requests, attempts, prices, receipts")
    begun = time.monotonic()
    psql(system, RECEIPTS)
    count = int(psql(system, "select count(*) from receipts"))

    def logged():
        return int(psql(system, "select count(*) from log_leaves where kind = 'receipt'")) == count

    eventually("every receipt is logged", logged, within=60 + count // 50)
    print(f"{count} receipts were signed and logged in {time.monotonic() - begun:.0f} s", flush=True)


def close(system):
    begun = time.monotonic()
    status, text = ask(f"{system.url}/api/epochs", {}, system.environment["ADMIN_TOKEN"])
    assert status == 201, text
    print(f"epoch {json.loads(text)['number']} was closed in {time.monotonic() - begun:.1f} s", flush=True)
    eventually("its documents are logged", lambda: psql(system, "select count(*) from log_queue") == "0")


def pay(system):
    """Pays all that is due, as whoever has a bank would: by the list that the gateway gives, and with the bank's references."""
    key = system.environment["ADMIN_TOKEN"]
    status, text = ask(f"{system.url}/api/payouts/csv?state=due", key=key)
    assert status == 200, text
    due = list(csv.DictReader(io.StringIO(text)))
    paid = "id,reference\n" + "".join(f"{row['id']},bank {number}\n" for number, row in enumerate(due))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/csv"}
    table = urllib.request.Request(f"{system.url}/api/payouts/csv", paid.encode(), headers)
    with urllib.request.urlopen(table, timeout=120) as answer:
        told = json.load(answer)
    assert told == {"paid": len(due), "paid_before": 0}, told
    total = sum(int(row["nanocredits"]) for row in due)
    print(f"{len(due)} payouts of {total} nanocredits were made", flush=True)
    return len(due)


def recompute(system, folder):
    """Copies what is public, and has it recomputed by both. Nothing else than the copy is read."""
    code, text, seconds = run(program("commonwatt"), "verify", "copy", system.url, str(folder))
    assert code == 0, text
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    print(f"all that is public was copied in {seconds:.0f} s: {files} files", flush=True)
    for number in ("1", "2"):
        code, text, seconds = run(program("commonwatt"), "verify", "epoch", str(folder), "--epoch", number)
        print(f"\ncommonwatt verify epoch, in {seconds:.1f} s:\n{text}", flush=True)
        assert code == 0, "it does not hold"
        code, text, seconds = run(*EPOCH, str(folder), number)
        print(f"\nepoch.py, in {seconds:.1f} s:\n{text}", flush=True)
        assert code == 0, "it does not hold"


def tamper(folder):
    """A receipt that costs more than it did, with all else as it was."""
    documents = sorted(path for path in (folder / "documents").rglob("*") if path.is_file())
    for path in documents:
        lines = path.read_text().split("\n")
        for at, line in enumerate(lines):
            if line.count(".") == 2:
                lines[at] = line[:200] + ("A" if line[200] != "A" else "B") + line[201:]
                path.write_text("\n".join(lines))
                return
    sys.exit("there is no receipt in the copy")


def main():
    if not shutil.which("psql"):
        skip("nothing was recomputed: there is no psql (Debian's package postgresql-client).")
    with System(COMMONWATT_MINIMUM_PAYOUT="0.0001") as system:
        system.answer()
        eventually("the answer's receipt", lambda: psql(system, "select 1 from receipts where receipt is not null limit 1"))
        fill(system, COUNT * 4 // 5, DAYS)
        sign(system)
        close(system)
        assert pay(system) > 0, "nothing was due"
        close(system)
        again = [program("commonwatt"), "admin", "--database-url", system.environment["DATABASE_URL"]]
        again += ["--data", str(system.data / "gateway")]
        for number in ("1", "2"):
            code, text, seconds = run(*again, "recompute-epoch", number)
            assert code == 0, text
            print(f"{text} ({seconds:.1f} s)", flush=True)
        code, text, _ = run(*again, "audit")
        assert code == 0, text
        folder = system.folder / "copy"
        recompute(system, folder)
        tamper(folder)
        for command in ([program("commonwatt"), "verify", "epoch"], EPOCH):
            number = ["--epoch", "1"] if "verify" in command else ["1"]
            code, text, _ = run(*command, str(folder), *number)
            assert code == 1, f"a receipt was changed, and nobody noticed: {text}"
        print("\na receipt that was changed in the copy is found by both", flush=True)


if __name__ == "__main__":
    main()
