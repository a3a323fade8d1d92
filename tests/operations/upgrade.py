"""Replaces every gateway and every node of an older commit by today's, under load, and shows that no client notices.

What docs/operations.md says about upgrading, done: three gateways behind a load balancer that asks /readyz, two nodes with
the real model, all of the older commit. While clients ask without a pause, each gateway in turn is stopped and today's is
started in its place, the first of which migrates the database; then each node. At the end no request may have failed, each
answer has its row, and the ledger adds up.

`make upgrade FROM=<commit>` runs it and compiles the older commit in a folder of its own below the cache, which takes as
long as the first build did. --programs names a folder that has the older programs. Without HAProxy, which is the load
balancer, or Postgres' tools it is skipped.
"""

import argparse
import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from restore import new_postgres, run
from system import BIN, CACHE, PROJECT, READY_WITHIN, ask, eventually, forget_settings, free_port, skip, start, stop
from traffic import KINDS, Traffic

GATEWAYS = ("a", "b", "c")
NODES = ("one", "two")
MODEL_FOLDER = os.environ.get("COMMONWATT_TEST_MODEL")
CLIENTS = {"whole": 1, "streamed": 1, "long": 2}
MODEL = "smollm2-135m-instruct"
PROGRAMS = ("commonwatt", "commonwatt-node")
BEGAN = time.monotonic()
# Longer than the balancer takes to notice: two checks, half a second apart.
STOP_DELAY_SECONDS = "3"
# Shorter than a long answer: what still runs then, another node goes on with.
NODE_DRAIN_SECONDS = "2"
# Tries again only where nobody was there to hear the request: whatever was answered, or broke off, the client gets.
BALANCER = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout check 10s
    timeout client 10m
    timeout server 10m
    retries 3
    retry-on conn-failure
    option redispatch
frontend clients
    bind ADDRESS
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk GET /readyz
    http-response set-header x-served-by %s
    default-server inter 500ms fall 2 rise 1
"""


def say(text):
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def build(commit):
    """The programs of a commit, compiled apart from today's."""
    look_up = ["git", "-C", str(PROJECT), "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
    named = subprocess.run(look_up, capture_output=True, text=True).stdout.strip()
    if not named:
        sys.exit(f"'{commit}' is no commit of this repository: fetch it, or name another with FROM=<commit>")
    programs = CACHE / "upgrade" / named[:12]
    if all((programs / name).exists() for name in PROGRAMS):
        return programs
    if not shutil.which("cargo"):
        skip("the upgrade was not tried: there is no cargo to compile the older commit with.")
    source, target = CACHE / "upgrade/source", CACHE / "upgrade/target"
    say(f"compiling {named[:12]} in {target}")
    if source.exists():  # left by a run that was ended
        run("git", "-C", PROJECT, "worktree", "remove", "--force", source)
    run("git", "-C", PROJECT, "worktree", "add", "--force", "--detach", source, named)
    try:
        chosen = [part for name in PROGRAMS for part in ("--bin", name)]
        subprocess.run(
            ["cargo", "build", "--release", "--locked", "--workspace", *chosen],
            cwd=source,
            env={**os.environ, "CARGO_TARGET_DIR": str(target), "SQLX_OFFLINE": "true"},
            check=True,
        )
    finally:
        run("git", "-C", PROJECT, "worktree", "remove", "--force", source)
    programs.mkdir(exist_ok=True)
    for name in PROGRAMS:
        shutil.copy(target / "release" / name, programs)
    return programs


class Program:
    """One of ours, to be stopped in good order and started anew from another folder."""

    def __init__(self, name, folder, command, environment):
        self.name, self.log = name, folder / f"{name}.log"
        self.command, self.environment = command, environment
        self.process = None

    def start(self, programs):
        program, *rest = self.command
        self.process = start([str(programs / program), *rest], self.log, **self.environment)

    def eventually(self, what, condition):
        def unless_it_ended():
            if self.process.poll() is not None:
                sys.exit(f"{self.name} has ended:\n{self.log.read_text()}")
            return condition()

        eventually(f"{self.name}: {what}", unless_it_ended, READY_WITHIN)

    def stop(self):
        """As systemd does it; it has to leave by itself and in peace."""
        stop(self.process, signal.SIGTERM)
        if self.process.returncode != 0:
            sys.exit(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}")


class Federation:
    """Three gateways over one Postgres, their balancer and two nodes."""

    def __init__(self, folder, database_url):
        self.folder, self.database_url, self.data = folder, database_url, folder / "gateway"
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in GATEWAYS}
        self.gateways = {name: self._gateway(name) for name in GATEWAYS}
        self.nodes = {name: self._node(name) for name in NODES}
        self.balancer = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.balancer}"
        self.running = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.running.close()

    def _gateway(self, name):
        environment = {
            "DATABASE_URL": self.database_url,
            "COMMONWATT_DATA": str(self.data),
            "COMMONWATT_JOURNAL": str(self.folder / f"journal-{name}"),
            "COMMONWATT_LISTEN": self.addresses[name],
            "COMMONWATT_INTERNAL_LISTEN": f"127.0.0.1:{free_port()}",
            "COMMONWATT_STOP_DELAY_SECONDS": STOP_DELAY_SECONDS,
            # A machine that does much else lets a node wait.
            "COMMONWATT_NODE_SILENCE_SECONDS": "60",
        }
        return Program(f"gateway-{name}", self.folder, ["commonwatt", "serve"], environment)

    def _node(self, name):
        environment = {
            "COMMONWATT_DATA": str(self.folder / f"node-{name}"),
            "COMMONWATT_GATEWAY": ",".join(f"http://{address}" for address in self.addresses.values()),
            "COMMONWATT_NODE_LISTEN": f"127.0.0.1:{free_port()}",
            "COMMONWATT_NODE_NAME": name,
            "COMMONWATT_SLOTS": "2",
            "COMMONWATT_DRAIN_SECONDS": NODE_DRAIN_SECONDS,
        }
        if MODEL_FOLDER:
            environment["COMMONWATT_SOURCE"] = MODEL_FOLDER
        return Program(f"node-{name}", self.folder, ["commonwatt-node", "serve"], environment)

    def start(self, programs):
        """All of them of one version, with a first user who has credits."""
        for name, gateway in self.gateways.items():
            self._run(gateway, programs)
            gateway.eventually("is ready", lambda name=name: self._readiness(name))
        self.admin(programs, "bootstrap", "--out", self.folder / "bootstrap")
        self.token = (self.folder / "bootstrap/admin_token").read_text().strip()
        self._start_balancer()
        for node in self.nodes.values():
            # Used once: from then on the node is known by its key.
            node.environment["COMMONWATT_TOKEN"] = self.create("enrolment-tokens")["token"]
            self._run(node, programs)
        self.wait_for_nodes()

    def _run(self, program, programs):
        program.start(programs)
        self.running.callback(lambda: stop(program.process, signal.SIGTERM))

    def _start_balancer(self):
        file = self.folder / "haproxy.cfg"
        servers = [f"    server {name} {address} check\n" for name, address in self.addresses.items()]
        file.write_text(BALANCER.replace("ADDRESS", self.balancer) + "".join(servers))
        balancer = start(["haproxy", "-db", "-f", str(file)], self.folder / "haproxy.log")
        self.running.callback(lambda: stop(balancer, signal.SIGTERM))
        eventually("the balancer answers", lambda: ask(f"{self.url}/healthz")[0] == 200)

    def _readiness(self, gateway):
        status, text = ask(f"http://{self.addresses[gateway]}/readyz")
        return json.loads(text) if status == 200 else None

    def wait_for_nodes(self):
        def all_there():
            told = [self._readiness(name) for name in GATEWAYS]
            return all(state and state["nodes"] == len(NODES) for state in told)

        eventually("every gateway knows both nodes", all_there, READY_WITHIN)

    def node_ids(self):
        status, text = ask(f"{self.url}/api/nodes", key=self.token)
        assert status == 200, text
        return {node["name"]: node["id"] for node in json.loads(text)["data"]}

    def create(self, what, body=None):
        status, text = ask(f"{self.url}/api/{what}", body or {}, self.token)
        if status not in (200, 201):
            sys.exit(f"POST /api/{what}: {status} {text}")
        return json.loads(text)

    def admin(self, programs, *command):
        given = ("admin", "--database-url", self.database_url, "--data", self.data)
        return run(programs / "commonwatt", *given, *command)

    def ask_database(self, statement):
        return run("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement, self.database_url)

    def tables_version(self):
        return int(self.ask_database("select max(version) from _sqlx_migrations"))


def replace(federation, traffic, program, server):
    """Stops one and starts today's in its place while a long stream runs through it; gives back the streams that ran."""
    eventually(f"a long stream through {program.name}", lambda: traffic.begun_streams(server), READY_WITHIN)
    streams = traffic.begun_streams(server)
    began = time.monotonic()
    program.stop()
    stopped = time.monotonic()
    program.start(BIN)
    program.eventually("serves", lambda: traffic.is_served_by(server, stopped))
    say(
        f"{program.name} is replaced: {len(streams)} long streams ran through it, it stopped within "
        f"{stopped - began:.1f} s, and today's answers {time.monotonic() - stopped:.1f} s later; "
        f"the tables' version is {federation.tables_version()}"
    )
    federation.wait_for_nodes()
    return streams


def rows(federation, answers):
    """How many answers have a row that says that they were completed, and how many took a second node."""
    ids = ",".join(answer.request for answer in answers)
    statement = f"""
        select count(*) filter (where outcome = 'completed'),
               count(*) filter (where (select count(*) from attempts where request_id = requests.id) > 1)
        from requests where id = any('{{{ids}}}')"""
    return [int(count) for count in federation.ask_database(statement).split("|")]


def upgrade(federation):
    """Everything, under load; gives back all answers, and those that streamed at a switch."""
    limits = {"requests_per_minute": 100_000, "tokens_per_minute": 10_000_000, "credits_per_day": "500"}
    key = federation.create("keys", {"name": "upgrade", "limits": limits})["key"]
    nodes = federation.node_ids()
    with Traffic(federation.balancer, key, MODEL, CLIENTS) as traffic:
        say(f"clients ask: {CLIENTS}; the tables' version is {federation.tables_version()}")
        at_a_switch = []
        for name, gateway in federation.gateways.items():
            at_a_switch += replace(federation, traffic, gateway, name)
        for name, node in federation.nodes.items():
            at_a_switch += replace(federation, traffic, node, nodes[name])
        say("everything is of today; the last answers come in")
    return traffic.answers, at_a_switch


def judge(federation, answers, at_a_switch):
    failed = [answer for answer in answers if not answer.is_complete()]
    for answer in failed[:10]:
        print(f"failed: {answer}")
    kinds = collections.Counter(answer.kind for answer in answers)
    say(f"{len(answers)} requests ({', '.join(f'{kinds[kind]} {kind}' for kind in KINDS)}), {len(failed)} failed")
    broken = [answer for answer in at_a_switch if not answer.is_complete()]
    say(f"{len(at_a_switch)} streams ran at a switch, {len(broken)} of them did not come to their end")
    if failed or broken:
        sys.exit("clients have noticed the upgrade")
    eventually("each answer has its row", lambda: rows(federation, answers)[0] == len(answers))
    completed, gone_on = rows(federation, answers)
    say(f"{completed} rows of completed requests, of which {gone_on} were gone on with by a second node")
    others = int(federation.ask_database("select count(*) from requests")) - completed
    if others:
        sys.exit(f"there are {others} rows of requests that nobody has made")
    say(f"commonwatt admin audit: {federation.admin(BIN, 'audit')}")


def refused_by_older(federation, older):
    """What the older gateway says when it is started on today's tables."""
    command = [older / "commonwatt", "admin", "--database-url", federation.database_url, "--data", federation.data, "audit"]
    said = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if said.returncode == 0:
        sys.exit("the older version works on newer tables, which docs/operations.md denies")
    return said.stderr.strip()


def arguments():
    parser = argparse.ArgumentParser(description="Upgrades a running federation under load.")
    parser.add_argument("commit", nargs="?", help="the older version, which is compiled if it was not before")
    parser.add_argument("--programs", type=Path, help="a folder that has the older programs")
    given = parser.parse_args()
    if bool(given.commit) == bool(given.programs):
        parser.error("say which version is upgraded: make upgrade FROM=<commit>, or --programs <folder>")
    return given


def main():
    given = arguments()
    # So that whatever was started is ended, too, where the check is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    for tool, package in (("haproxy", "haproxy"), ("psql", "postgresql-client")):
        if not shutil.which(tool):
            skip(f"the upgrade was not tried: there is no {tool} (Debian's package {package}).")
    older = given.programs or build(given.commit)
    for name in PROGRAMS:
        if not (older / name).exists():
            sys.exit(f"{older / name} is missing")
    forget_settings()
    folder = Path(tempfile.mkdtemp(prefix="commonwatt-"))
    # Postgres, which does not run as root, has to reach it.
    folder.chmod(0o755)
    try:
        with new_postgres(folder) as database_url, Federation(folder, database_url) as federation:
            federation.start(older)
            say(f"{len(GATEWAYS)} gateways and {len(NODES)} nodes of {given.commit or older} serve")
            before = federation.tables_version()
            answers, at_a_switch = upgrade(federation)
            judge(federation, answers, at_a_switch)
            if federation.tables_version() != before:
                say(f"the older version refuses the new tables: {refused_by_older(federation, older)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("upgraded under load: no client noticed")


if __name__ == "__main__":
    main()
