"""Shows that the systemd units and the Kubernetes manifests hold what they promise.

systemd's own tools judge the units; kustomize renders the manifests, and the published schemas of Kubernetes judge them.
Beyond that: pods within the restricted standard, and stop times that fit the gateway's own. `make manifests` runs it; parts
whose tool is missing are skipped by name.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from system import PROJECT, SKIPPED, program

UNITS = sorted((PROJECT / "docker/systemd").glob("*.service"))
KUBERNETES = PROJECT / "docker/kubernetes"
# systemd-analyze counts from 0, the best, to 10.
MOST_EXPOSED = 1.5
VERSION = "1.34"
# The gateway gives its journal so long (README, "Starting and stopping").
JOURNAL_SECONDS = 30


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode or "verify" in command and done.stderr:
        sys.exit(f"{command[0]} {command[1]}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(unit, setting):
    return int(re.search(rf"^{setting}=(\d+)$", unit, re.MULTILINE)[1])


def check_units():
    if not shutil.which("systemd-analyze"):
        return "SKIPPED: the units were not checked: there is no systemd-analyze."
    drains = {"commonwatt-gateway": 60 + JOURNAL_SECONDS, "commonwatt-node": 30}
    for path in UNITS:
        text = path.read_text()
        assert seconds(text, "TimeoutStopSec") > drains[path.stem], f"{path.name} kills what still drains"
        with tempfile.TemporaryDirectory() as folder:
            # Where the program lies on this machine: verify asks for it.
            copy = Path(folder) / path.name
            copy.write_text(
                text.replace(
                    f"/usr/local/bin/{path.stem.removesuffix('-gateway')} ",
                    f"{program(path.stem.removesuffix('-gateway'))} ",
                )
            )
            run("systemd-analyze", "verify", copy)
            told = run("systemd-analyze", "security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", copy)
        print(f"{path.name}: {told.strip().splitlines()[-1].lstrip('→ ')}")
    return None


def check_restricted(pod):
    """The restricted pod security standard, as far as it asks for something to be set."""
    whole = pod["securityContext"]
    assert whole["runAsNonRoot"] and whole["seccompProfile"]["type"] == "RuntimeDefault", whole
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["capabilities"]["drop"] == ["ALL"], own
        assert own["readOnlyRootFilesystem"], own
    for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
        assert not pod.get(forbidden), forbidden
    assert all(set(volume) & {"secret", "emptyDir", "configMap", "persistentVolumeClaim"} for volume in pod["volumes"])


def check_times(pod):
    """Readiness is noticed within the stop delay, and the pod may stop for as long as the gateway takes."""
    [container] = pod["containers"]
    settings = {variable["name"]: variable.get("value") for variable in container["env"]}
    delay, drain = (int(settings[f"COMMONWATT_{name}_SECONDS"]) for name in ("STOP_DELAY", "DRAIN"))
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < delay
    assert pod["terminationGracePeriodSeconds"] > delay + drain + JOURNAL_SECONDS
    assert pod["enableServiceLinks"] is False


def check_kubernetes():
    version = shutil.which("kubectl") and run("kubectl", "version", "--client")
    if not re.search(r"Kustomize Version: v[5-9]", version or ""):
        return "SKIPPED: the manifests were not rendered: there is no kubectl of version 1.27 or later."
    try:
        import kubernetes_validate
        import yaml
    except ImportError:
        return "SKIPPED: the manifests were not checked: there is no kubernetes-validate (pip install kubernetes-validate)."
    documents = list(yaml.safe_load_all(run("kubectl", "kustomize", KUBERNETES)))
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
        print(f"{document['kind']} {document['metadata']['name']}: as Kubernetes {VERSION} has it")
    [pod] = (document["spec"]["template"]["spec"] for document in documents if document["kind"] == "StatefulSet")
    check_restricted(pod)
    check_times(pod)
    return None


def main():
    skipped = [reason for reason in (check_units(), check_kubernetes()) if reason]
    for reason in skipped:
        print(reason, file=sys.stderr)
    if len(skipped) == 2:
        sys.exit(SKIPPED)
    print("units and manifests hold what they promise")


if __name__ == "__main__":
    main()
