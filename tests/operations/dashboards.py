"""Shows that every panel and every alert asks for something that is there.

A real system is scraped by a real Prometheus, with the project's own configuration, while requests run. Each query of each
dashboard must bring back numbers, each alert must parse, fire in promtool's tests, name metrics that exist, and have an
entry in the runbook. `make dashboards` runs it; without Prometheus it is skipped.
"""

import contextlib
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from system import PROJECT, System, ask, eventually, free_port, skip, start, stop

PROMETHEUS = PROJECT / "docker/prometheus"
DASHBOARDS = sorted((PROJECT / "docker/grafana/dashboards").glob("*.json"))
# A rate needs some samples; the check takes one each second.
WINDOW = "30s"
ROUNDS = 12


def check_files():
    """What promtool says of the files."""
    for command in (
        ["promtool", "check", "config", PROMETHEUS / "prometheus.yaml"],
        ["promtool", "test", "rules", PROMETHEUS / "alerts.test.yaml"],
    ):
        checked = subprocess.run(command, capture_output=True, text=True)
        if checked.returncode:
            sys.exit(f"{checked.stdout}{checked.stderr}")


def check_runbook(alerts):
    """Each alert leads to a heading of the runbook, and each tested one is there."""
    runbook = (PROJECT / "docs/runbook.md").read_text()
    tests = (PROMETHEUS / "alerts.test.yaml").read_text()
    for alert in alerts:
        name = alert["name"]
        if f"\n## {name}\n" not in runbook:
            sys.exit(f"docs/runbook.md has no entry {name}")
        if alert["annotations"].get("runbook") != f"docs/runbook.md#{name.lower()}":
            sys.exit(f"{name} does not lead to its entry in the runbook")
        if not re.search(rf"alertname: {name}\n\s+exp_alerts:\n", tests):
            sys.exit(f"no test in alerts.test.yaml lets {name} fire")


class Prometheus:
    """A Prometheus with the project's configuration, at other addresses and each second."""

    def __init__(self, folder, addresses):
        configuration = (PROMETHEUS / "prometheus.yaml").read_text()
        for name, address in addresses.items():
            assert name in configuration, name
            configuration = configuration.replace(name, address)
        configuration = re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", configuration)
        (folder / "prometheus.yaml").write_text(configuration)
        shutil.copy(PROMETHEUS / "alerts.yaml", folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.process = start(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus.log",
        )

    def get(self, path, **parameters):
        status, text = ask(f"{self.url}/{path}?{urllib.parse.urlencode(parameters)}")
        if status != 200:
            sys.exit(f"Prometheus refuses {parameters}: {text}")
        return json.loads(text)["data"]

    def numbers(self, query):
        """Series that have a number at this moment."""
        return sum(not math.isnan(float(series["value"][1])) for series in self.get("query", query=query)["result"])


def queries():
    """Each query as (dashboard, panel, expression), its variables put in."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        names = [variable["name"] for variable in board["templating"]["list"]]
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", WINDOW)
                for name in names:
                    expression = expression.replace(f"${name}", ".*")
                if "$" in expression:
                    sys.exit(f"{path.name}, {panel['title']}: a variable that is not defined in {expression}")
                yield path.stem, panel["title"], expression
        for variable in board["templating"]["list"]:
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            yield path.stem, f"variable {variable['name']}", f"count by ({label}) ({metric})"


def leave_midway(system):
    """A client that goes when the first byte is there."""
    body = {"model": system.environment["MODEL"], "prompt": "Once upon a time", "stream": True, "max_tokens": 400}
    request = urllib.request.Request(
        f"{system.environment['BASE_URL']}/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {system.environment['API_KEY']}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read(1)


def traffic(system):
    """Answers, of which some have to wait for a place, refusals and a client that leaves."""
    with ThreadPoolExecutor() as at_once:
        answers = [at_once.submit(system.answer, **request) for request in ({}, {"stream": True}, {"max_tokens": 16})]
    for answer in answers:
        answer.result()
    status, text = system.chat(logit_bias={"99999999": 1})
    assert status == 400, text
    with contextlib.suppress(urllib.error.HTTPError):
        leave_midway(system)


def check_queries(prometheus, system, has_probe):
    asked = [query for query in queries() if has_probe or "probe_" not in query[2]]
    for _ in range(ROUNDS):
        traffic(system)
        found = [(*query, prometheus.numbers(query[2])) for query in asked]
        if all(series for *_, series in found):
            break
    for board, panel, expression, series in found:
        print(f"{board:8} {panel:40} {series:3} series")
    empty = [f"{board}, {panel}: {expression}" for board, panel, expression, series in found if not series]
    if empty:
        sys.exit("no data for\n" + "\n".join(empty))
    return len(found)


def metrics(expression):
    """What an expression reads: names, and selectors by a pattern of names."""
    patterns = set(re.findall(r'{__name__=~"[^"]*"', expression))
    bare = re.sub(r"{[^}]*}|\[[^\]]*\]|\b(?:by|on|without) ?\([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:up|\w+_\w+)\b(?! ?\()", bare)) | {pattern + "}" for pattern in patterns}


def check_alerts(prometheus, has_probe):
    rules = eventually(
        "all alerts were evaluated",
        lambda: (
            (found := [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]])
            and all(rule["health"] != "unknown" for rule in found)
            and found
        ),
    )
    for rule in rules:
        if rule["health"] != "ok":
            sys.exit(f"{rule['name']}: {rule.get('lastError')}")
        for metric in metrics(rule["query"]):
            if (has_probe or not metric.startswith("probe_")) and not prometheus.numbers(metric):
                sys.exit(f"{rule['name']} asks for {metric}, which nothing shows")
        print(f"alert    {rule['name']:40} {rule['state']}")
    check_runbook(rules)
    return len(rules)


def main():
    for name in ("prometheus", "promtool"):
        if not shutil.which(name):
            skip(f"the dashboards and alerts were not tried: there is no {name} (Debian's package prometheus).")
    check_files()
    has_probe = shutil.which("prometheus-blackbox-exporter") is not None
    if not has_probe:
        print("SKIPPED: /readyz was not probed: there is no prometheus-blackbox-exporter.", file=sys.stderr)
    gateway, node, probe = (f"127.0.0.1:{free_port()}" for _ in range(3))
    settings = {
        "COMMONWATT_METRICS_LISTEN": gateway,
        "COMMONWATT_NODE_METRICS_LISTEN": node,
        "COMMONWATT_ZONE": "DE",
        # So that whoever comes second waits at the gateway, and not on the node.
        "COMMONWATT_QUEUE": "0",
    }
    with System(**settings) as system:
        running = []
        try:
            if has_probe:
                running.append(
                    start(
                        [
                            "prometheus-blackbox-exporter",
                            f"--config.file={PROMETHEUS / 'probe.yaml'}",
                            f"--web.listen-address={probe}",
                        ],
                        system.folder / "probe.log",
                    )
                )
            addresses = {
                "gateway:9464": gateway,
                "node:9464": node,
                "http://gateway:8080": system.url,
                "probe:9115": probe,
            }
            prometheus = Prometheus(system.folder, addresses)
            running.append(prometheus.process)
            eventually(
                "gateway and node are scraped",
                lambda: (
                    ask(f"{prometheus.url}/status/config")[0] == 200
                    and prometheus.numbers('up{job=~"gateway|node"} == 1') == 2
                ),
            )
            asked = check_queries(prometheus, system, has_probe)
            alerts = check_alerts(prometheus, has_probe)
        finally:
            for process in running:
                stop(process, signal.SIGTERM)
    print(f"every panel has data ({asked} queries), and every alert can fire ({alerts})")


if __name__ == "__main__":
    main()
