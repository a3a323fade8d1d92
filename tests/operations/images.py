"""Builds the container images, runs docker/compose.yaml with them, and shows that they are what the documentation says.

Each image names what it is and what it is made of. Each process is an ordinary user without a capability, and can write to
nothing but its volumes. From nothing to an answer with the key that `bootstrap` makes; a node that is stopped ends what it
has begun; and what was there before `down` is there after the next `up`. All of it in a project of its own, that is gone
afterwards. `make images` runs it; where no Docker runs, or an image can't be had, it is skipped.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from system import PROJECT, ask, eventually, free_port, skip

NAME = f"commonwatt-check-{os.getpid()}"
COMPOSE = ["docker", "compose", "--file", "docker/compose.yaml", "--project-name", NAME]
IMAGES = {"commonwatt-gateway": "axum", "commonwatt-node": "mistralrs-core"}
WATCHING = ["prometheus", "probe"]
# A machine that computes several things at once takes its time to load a model.
READY_WITHIN = 900
MODEL = "smollm2-135m-instruct"


def run(*command, refused=False):
    """What a command prints. One that is to be refused has to fail."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if bool(done.returncode) != refused:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def compose(*command):
    return run(*COMPOSE, *command)


def check_docker():
    """Docker, Compose, and every image that is only fetched."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        if not shutil.which("docker") or subprocess.run(command, capture_output=True).returncode:
            skip(f"the images were not tried: `{' '.join(command)}` fails here.")
    stages = "".join(path.read_text() for path in (PROJECT / "docker").glob("*.Dockerfile"))
    bases = re.findall(r"^FROM ([\w./-]+:[\w.-]+)", stages, re.MULTILINE)
    for image in {*bases, *compose("config", "--images").split()} - {*IMAGES}:
        if not has(image):
            skip(f"the images were not tried: {image} can't be had here.")


def has(image):
    found = (["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    return any(not subprocess.run(command, capture_output=True).returncode for command in found)


def check_image(image, crate):
    """What it says of itself, its bill of materials, and that nothing in it makes another user of anybody."""
    [inspected] = json.loads(run("docker", "image", "inspect", image))
    labels = inspected["Config"]["Labels"]
    [version] = re.findall(r'^version = "(.+)"$', (PROJECT / "Cargo.toml").read_text(), re.MULTILINE)
    assert labels["org.opencontainers.image.version"] == os.environ.get("VERSION", version), labels
    for name in ("title", "description", "licenses", "base.name", "revision", "created"):
        assert labels[f"org.opencontainers.image.{name}"], name
    # As root, who sees every folder.
    within = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint"]
    bill = json.loads(run(*within, "cat", image, labels["commonwatt.sbom"]))
    assert bill["bomFormat"] == "CycloneDX", bill
    names = {component["name"] for component in bill["components"]}
    assert crate in names, f"{crate} is not among the {len(names)} crates of {image}"
    privileged = run(*within, "find", image, "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert not privileged, f"{image} has programs that change the user: {privileged}"
    megabytes = inspected["Size"] / 1_000_000
    print(f"{image}: {megabytes:.0f} MB, user {inspected['Config']['User']}, {len(names)} crates in its bill of materials")


def check_confined(service):
    """The first process of a container: an ordinary user, no capability, no way to get one, a root that stays as it is."""
    told = compose("exec", "--no-TTY", service, "cat", "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    users = set(status["Uid"].split())
    assert "0" not in users, f"{service} runs as root"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, f"{service} has capabilities"
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"{service} can gain privileges"
    for folder in ("/", "/usr/local/bin", "/etc"):
        run(*COMPOSE, "exec", "--no-TTY", service, "touch", f"{folder}/written", refused=True)
    print(f"{service}: user {users.pop()}, no capability, a root that can't be written to")


def bring_model():
    """The model file from this machine, as the top of docker/compose.yaml shows; without one the node fetches it."""
    if folder := os.environ.get("COMMONWATT_TEST_MODEL"):
        [file] = Path(folder).glob("*.gguf")
        compose("run", "--rm", "--no-deps", "-v", f"{file}:/model.gguf:ro", "node", "pull", "--source", "/model.gguf")


def up():
    """Starts everything; for how many seconds it took the node to be healthy, which comes last."""
    begun = time.monotonic()
    compose("up", "--detach")
    health = ["docker", "inspect", "--format", "{{.State.Health.Status}}", f"{NAME}-node-1"]
    eventually("the node is healthy", lambda: run(*health) == "healthy", READY_WITHIN)
    return time.monotonic() - begun


def bootstrapped(name):
    return compose("run", "--rm", "--no-deps", "--entrypoint", "cat", "bootstrap", f"/bootstrap/{name}")


def answer(url, key):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 8}

    def once():
        status, text = ask(f"{url}/v1/chat/completions", body, key)
        assert status in (200, 502, 503, None), text
        return status == 200 and json.loads(text)

    return eventually("an answer", once, within=300)


def check_stop(url, key):
    """A stream that has begun when its node is told to stop comes to its end."""
    body = {"model": MODEL, "prompt": "Once upon a time", "stream": True, "max_tokens": 40}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as stream:
        first = stream.readline()
        stopping = subprocess.Popen([*COMPOSE, "stop", "node"], cwd=PROJECT, stderr=subprocess.DEVNULL)
        text = (first + stream.read()).decode()
    stopping.wait()
    assert '"finish_reason":"length"' in text and "data: [DONE]" in text, text
    status = run("docker", "inspect", "--format", "{{.State.ExitCode}}", f"{NAME}-node-1")
    assert status == "0", f"the node ended with status {status}"
    print("a node that is stopped ends the answer that it has begun")


def check_watched():
    """Prometheus reaches the gateway, the node and the probe."""

    def all_up():
        asked = "http://127.0.0.1:9090/api/v1/targets?state=active"
        told = json.loads(compose("exec", "--no-TTY", "prometheus", "wget", "-q", "-O", "-", asked))
        targets = told["data"]["activeTargets"]
        return all(target["health"] == "up" for target in targets) and len(targets)

    print(f"Prometheus: {eventually('all targets are up', all_up, within=120)} targets, all up")


def check_system(url):
    bring_model()
    print(f"from nothing to a healthy node: {up():.0f} s")
    key = bootstrapped("api_key")
    identity = answer(url, key)["id"].removeprefix("chatcmpl-")
    for service in ("postgres", "gateway", "node"):
        check_confined(service)
    check_stop(url, key)
    if all(has(image) for image in compose("--profile", "watch", "config", "--images", *WATCHING).split()):
        compose("up", "--detach", "node", *WATCHING)
        check_watched()
    else:
        print("SKIPPED: watching was not tried: Prometheus' images can't be had here.", file=sys.stderr)
    compose("--profile", "watch", "down")
    print(f"down, and up again: {up():.0f} s")
    answer(url, key)
    assert ask(f"{url}/api/requests/{identity}", key=bootstrapped("admin_token"))[0] == 200, "the first request is gone"
    told = compose("run", "--rm", "--no-deps", "bootstrap", "admin", "audit")
    print(f"commonwatt admin audit: {told}")


def main():
    port = free_port()
    os.environ.update(POSTGRES_PASSWORD=secrets.token_hex(24), COMMONWATT_PORT=str(port), COMMONWATT_BIND="127.0.0.1")
    check_docker()
    print("building; the first time takes long")
    compose("build")
    try:
        for image, crate in IMAGES.items():
            check_image(image, crate)
        check_system(f"http://127.0.0.1:{port}")
    finally:
        compose("--profile", "watch", "down", "--volumes")
    print("the images are what the documentation says")


if __name__ == "__main__":
    main()
