"""Backs a running system up, loses its machine, restores it elsewhere, and shows that the books balance.

What docs/operations.md says about backup and restore, done: a dump of Postgres while requests run, the gateway's secret, the
node's key and enrolments; `kill -9` to everything and its folder deleted; a new Postgres, gateway and node from the backup.
`make restore` runs it; without Postgres' own tools it is skipped.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from system import System, ask, eventually, free_port, program, skip, start, stop

REQUESTS = 5
# Everything that must be the same after the restore as it was in the dump.
FACTS = """
select json_build_object(
    'users', (select count(*) from users), 'keys', (select count(*) from keys), 'nodes', (select count(*) from nodes),
    'requests', (select count(*) from requests), 'events', (select count(*) from events),
    'postings', (select count(*) from postings), 'moved', (select sum(abs(nanocredits)) from postings),
    'sum', (select sum(nanocredits) from postings), 'windows', (select count(*) from energy_windows))
"""


def run(*command, **settings):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **settings)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def facts(psql, url):
    return json.loads(run(psql, "--no-psqlrc", "--tuples-only", "--no-align", "--command", FACTS, url))


def check_versions(tools, url):
    """A dump of a newer server than the tools know is refused by them."""
    server = (
        int(run(tools / "psql", "--no-psqlrc", "--tuples-only", "--command", "show server_version_num", url)) // 10_000
    )
    tool = int(run(tools / "pg_dump", "--version").split()[2].split(".")[0])
    if tool < server:
        skip(f"backup and restore were not tried: pg_dump is of version {tool}, and Postgres of {server}.")


def audit(database_url, data):
    told = run(program("commonwatt"), "admin", "--database-url", database_url, "--data", data, "audit")
    print(f"commonwatt admin audit: {told}")


@contextlib.contextmanager
def requests_running(system):
    """Requests one after the other, for as long as the block runs."""
    over = threading.Event()

    def go_on():
        while not over.is_set():
            system.chat()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def back_up(system, tools, backup):
    """The commands of docs/operations.md, while requests run."""
    url = system.environment["DATABASE_URL"]
    begun = time.monotonic()
    with requests_running(system):
        run(tools / "pg_dump", "--format=custom", f"--file={backup / 'commonwatt.dump'}", url)
    shutil.copy(system.data / "gateway/secret", backup)
    for name in ("node.key", "gateways.json"):
        shutil.copy(system.data / "node" / name, backup)
    return time.monotonic() - begun


def lose_the_machine(system):
    for name in ("UP_PID", "GATEWAY_PID", "NODE_PID", "POSTGRES_PID"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(system.environment[name]), signal.SIGKILL)
    system.process.wait()
    # A Postgres that has lost its first process ends by itself.
    eventually(
        "nothing uses the folder any more",
        lambda: shutil.rmtree(system.data, ignore_errors=True) or not system.data.exists(),
    )


@contextlib.contextmanager
def new_postgres(folder):
    """Another machine's Postgres, empty."""
    url = folder / "url"
    script = f'printf %s "$DATABASE_URL" > {url}.new; mv {url}.new {url}; exec sleep infinity'
    server = start([program("commonwatt"), "with-postgres", "--", "sh", "-c", script], folder / "postgres.log")
    try:
        eventually("a new Postgres", url.exists)
        yield url.read_text()
    finally:
        stop(server, signal.SIGTERM)


def restore(tools, backup, url, folder):
    """The commands of docs/operations.md."""
    (folder / "gateway").mkdir()
    (folder / "node").mkdir()
    shutil.copy(backup / "secret", folder / "gateway")
    for name in ("node.key", "gateways.json"):
        shutil.copy(backup / name, folder / "node")
    role = "create role commonwatt_service nologin; grant commonwatt_service to current_user"
    run(tools / "psql", "--no-psqlrc", "--quiet", "--command", role, url)
    run(
        tools / "pg_restore",
        "--no-owner",
        "--exit-on-error",
        "--single-transaction",
        f"--dbname={url}",
        backup / "commonwatt.dump",
    )


@contextlib.contextmanager
def serving(folder, url, model):
    """A gateway and a node on what was restored. The node goes by the address that it has enrolled at."""
    gateway, node = folder / "gateway", folder / "node"
    [known] = json.loads((node / "gateways.json").read_text()).keys()
    address = known.removeprefix("http://").rstrip("/")
    running = []
    try:
        running.append(
            start(
                [program("commonwatt"), "serve", "--database-url", url, "--data", str(gateway), "--listen", address],
                folder / "gateway.log",
            )
        )
        base = f"http://{address}"
        eventually("the gateway is ready", lambda: ask(f"{base}/readyz")[0] == 200)
        command = [
            program("commonwatt-node"),
            "serve",
            "--gateway",
            base,
            "--data",
            str(node),
            "--listen",
            f"127.0.0.1:{free_port()}",
            "--slots",
            "1",
        ]
        running.append(start(command + (["--source", model] if model else []), folder / "node.log"))
        eventually("the node is back", lambda: json.loads(ask(f"{base}/readyz")[1])["nodes"] > 0, 600)
        yield base
    finally:
        for process in reversed(running):
            stop(process, signal.SIGTERM)


def main():
    if not all(shutil.which(tool) for tool in ("psql", "pg_dump", "pg_restore")):
        skip("backup and restore were not tried: there are no Postgres tools (Debian's package postgresql-client).")
    with System() as system:
        tools = Path(shutil.which("pg_restore")).parent
        check_versions(tools, system.environment["DATABASE_URL"])
        backup = system.folder / "backup"
        backup.mkdir()
        for _ in range(REQUESTS):
            text = system.answer()
        request = json.loads(text)["id"].removeprefix("chatcmpl-")
        eventually("the last request is in Postgres", lambda: ask_request(system.url, system.environment, request))
        audit(system.environment["DATABASE_URL"], system.data / "gateway")
        took = back_up(system, tools, backup)
        print(
            f"backed up in {took:.1f} s while requests ran: {(backup / 'commonwatt.dump').stat().st_size} bytes of dump"
        )
        lose_the_machine(system)
        print("the machine is lost: everything killed, its folder deleted")

        begun = time.monotonic()
        model = system.settings.get("COMMONWATT_SOURCE")
        with new_postgres(system.folder) as url:
            restore(tools, backup, url, system.folder)
            print(f"the dump is restored after {time.monotonic() - begun:.1f} s: {facts(tools / 'psql', url)}")
            assert facts(tools / "psql", url)["sum"] == 0, "the ledger does not add up"
            audit(url, system.folder / "gateway")
            with serving(system.folder, url, model) as base:
                text = system.answer()  # the addresses and the key are the old ones
                print(f"the old key and the old node answer again after {time.monotonic() - begun:.1f} s")
                assert ask_request(base, system.environment, request), "the last request before the backup is gone"
                answered = json.loads(text)["id"].removeprefix("chatcmpl-")
                eventually("the new request is in Postgres", lambda: ask_request(base, system.environment, answered))
                audit(url, system.folder / "gateway")
    print("backed up, lost, restored: the books balance")


def ask_request(base, environment, request):
    return ask(f"{base}/api/requests/{request}", key=environment["ADMIN_TOKEN"])[0] == 200


if __name__ == "__main__":
    main()
