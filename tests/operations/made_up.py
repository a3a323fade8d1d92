"""Makes requests up, with all that real ones leave in the database, the ledger included."""

import subprocess
import sys
import time
from pathlib import Path

from system import program

SQL = Path(__file__).resolve().parent / "million"


def psql(system, script):
    command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
    done = subprocess.run(
        [*command, system.environment["DATABASE_URL"]], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"psql: {done.stderr}")
    return done.stdout.strip()


def fill(system, requests, days):
    """Makes so many requests of the first account up, and a quarter more of others, day by day, and has the books audited."""
    begun = time.monotonic()
    settings = {"requests": requests, "days": days, "model": system.environment["MODEL"]}
    script = [f"\\set {name} {value}" for name, value in settings.items()]
    script.append(f"begin;\n\\i {SQL}/world.sql\ncommit;")
    script += [f"\\set day {day}\nbegin;\n\\i {SQL}/day.sql\ncommit;" for day in range(days)]
    script.append("alter table postings enable trigger events_add_up_to_zero;\nvacuum analyze;")
    psql(system, "\n".join(script))
    print(f"{count(system)} requests of the first account were made up in {time.monotonic() - begun:.0f} s", flush=True)
    told = subprocess.run(
        [program("commonwatt"), "admin", "--database-url", system.environment["DATABASE_URL"], "--data"]
        + [str(system.data / "gateway"), "audit"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"commonwatt admin audit: {told.stdout}{told.stderr}".strip(), flush=True)
    if told.returncode:
        sys.exit("made-up requests whose ledger does not add up show nothing")


def count(system):
    return int(psql(system, "select count(*) from requests where account_id = (select id from accounts order by created_at limit 1)"))
