"""A whole system for a check: Postgres, a gateway and a node with the real model, in a folder that is gone afterwards."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("COMMONWATT_CACHE", Path.home() / ".cache/commonwatt"))
BIN = Path(os.environ.get("BIN", CACHE / "target/release"))
SKIPPED = 3
READY_WITHIN = 600


def skip(reason):
    """Ends the check: this machine lacks something. Nothing was shown."""
    print(f"SKIPPED: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def program(name):
    path = BIN / name
    if not path.exists():
        sys.exit(f"{path} is missing: make build, or say with BIN where the programs are")
    return str(path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, condition, within=60):
    """Waits until the condition gives something, and returns that."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"not within {within} seconds: {what}")


def ask(url, body=None, key=None, headers=None):
    """Status and text of an answer, whatever it is."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return None, str(error)


def forget_settings():
    """Programs get what the check gives them, and nothing of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("COMMONWATT_") or name == "DATABASE_URL"]:
        os.environ.pop(name)


def start(command, log, **environment):
    """Starts a program in a process group of its own, with its output in a file."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, **environment},
        )


def stop(process, by=signal.SIGINT):
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class System:
    """`commonwatt up` on free ports. What scripts read of it is in `environment`."""

    def __init__(self, **settings):
        self.folder = Path(tempfile.mkdtemp(prefix="commonwatt-"))
        # Postgres, which does not run as root, has to reach it.
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.settings = {
            "COMMONWATT_DATA": str(self.data),
            "COMMONWATT_PORT": str(free_port()),
            "COMMONWATT_NODE_PORT": str(free_port()),
            # Measuring how many suit this machine takes longer than the check.
            "COMMONWATT_SLOTS": "1",
            # A machine that does much else lets a node wait.
            "COMMONWATT_NODE_SILENCE_SECONDS": "60",
            **settings,
        }
        if model := os.environ.get("COMMONWATT_TEST_MODEL"):
            self.settings["COMMONWATT_SOURCE"] = model

    def __enter__(self):
        forget_settings()
        self.log = self.folder / "up.log"
        self.process = start([program("commonwatt"), "up"], self.log, **self.settings)
        try:
            eventually("everything runs", self._runs, READY_WITHIN)
        except BaseException:
            self.__exit__()
            raise
        self.environment = dict(
            assignment.split("=", 1)
            for assignment in shlex.split((self.data / "up.env").read_text())
            if "=" in assignment
        )
        self.url = self.environment["BASE_URL"].removesuffix("/v1")
        return self

    def _runs(self):
        if self.process.poll() is not None:
            sys.exit(f"the system did not start:\n{self.log.read_text()}")
        return "Commonwatt runs" in self.log.read_text()

    def chat(self, **request):
        body = {
            "model": self.environment["MODEL"],
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "max_tokens": 4,
            **request,
        }
        return ask(f"{self.environment['BASE_URL']}/chat/completions", body, self.environment["API_KEY"])

    def answer(self, **request):
        """What the model says. As a client does, it asks again when the node was too slow on a busy machine."""

        def once():
            status, text = self.chat(**request)
            assert status in (200, 502, 503), text
            return status == 200 and text

        return eventually("an answer", once, within=300)

    def __exit__(self, *_):
        stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
