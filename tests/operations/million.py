"""Shows that the console's pages stay quick over a million requests of one account.

A real system gets made-up requests of 30 days, with all that real ones leave, the ledger included, which is audited. Then each
call of each page is made over HTTP, twenty times, and each page is opened in a real Chromium. `make million` runs it, and
fails when a call takes longer than 200 ms at its 95th percentile; COUNT says how many requests. It is not part of CI, since
a machine that does something else as well proves nothing.
"""

import datetime
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse

from made_up import SQL, fill, psql
from system import PROJECT, SKIPPED, System, ask, eventually, skip

COUNT = int(os.environ.get("COUNT", "1000000"))
DAYS = 30
TIMES = 20
MOST_MILLISECONDS = 200
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)


class Facts:
    """What the pages of this system ask about."""

    def __init__(self, system):
        def known(query):
            return json.loads(psql(system, f"select json_agg(row) from ({query}) as row"))

        [mine] = known("select id from accounts order by created_at limit 1")
        self.account = mine["id"]
        ours = f"where account_id = '{self.account}'"
        keys = known(f"select id, name from keys {ours} and name like 'key %' order by name")
        self.key, self.rare_key = keys[0]["id"], keys[-1]["id"]
        self.nodes = [node["id"] for node in known("select id from nodes order by created_at")]
        [self.user] = [row["created_by"] for row in known(f"select created_by from keys {ours} limit 1")]
        old = f"select id from requests {ours} and id >= first_id_at(now() - interval '25 days')"
        self.old = known(f"{old} order by id limit 1")[0]["id"]
        self.request = known(f"{old} and outcome = 'completed' order by id limit 1")[0]["id"]
        line = known(
            f"select event_id, seq from postings where account = 'operator:{self.account}'"
            " and event_id >= first_id_at(now() - interval '25 days') order by event_id limit 1"
        )[0]
        self.old_line = f"{line['event_id']}.{line['seq']}"


def path(base, **query):
    return f"{base}?{urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})}"


def moment(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def spans(now):
    """For each range of the overview: its bucket, where it begins, and where the range before it began."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    hour, minute = today + HOUR * now.hour, today + HOUR * now.hour + MINUTE * now.minute
    of_year = datetime.datetime(now.year - 1 + now.month // 12, now.month % 12 + 1, 1, tzinfo=datetime.UTC)
    return {
        "1 hour": ("minute", minute - 59 * MINUTE, minute - 119 * MINUTE),
        "24 hours": ("hour", hour - 23 * HOUR, hour - 47 * HOUR),
        "7 days": ("hour", hour - 167 * HOUR, hour - 335 * HOUR),
        "30 days": ("day", today - 29 * DAY, today - 59 * DAY),
        "12 months": ("month", of_year, of_year.replace(year=of_year.year - 1)),
    }


def overview(facts):
    for name, (bucket, first, before) in spans(datetime.datetime.now(datetime.UTC)).items():
        for by in ("model", "key", "node"):
            yield f"{name} by {by}", path("/api/usage", bucket=bucket, group_by=by, **{"from": moment(first)}, limit=1000)
        earlier = {"from": moment(before), "to": moment(first)}
        yield f"the {name} before", path("/api/usage", bucket="month", group_by="", **earlier)
    yield "keys", "/api/keys"
    yield "balance", "/api/ledger/balance"


def requests(facts):
    yield "newest", "/api/requests"
    yield "deep", path("/api/requests", before=facts.old)
    day = moment(datetime.datetime.now(datetime.UTC) - 20 * DAY)
    filters = {
        "of a key": {"key": facts.key},
        "of a rare key": {"key": facts.rare_key},
        "of a model": {"model": "gpt-oss-20b"},
        "of a rare model": {"model": "hardly-ever-asked"},
        "of an unknown model": {"model": "never-asked"},
        "of a node": {"node": facts.nodes[1]},
        "of the youngest node": {"node": facts.nodes[0]},
        "of an outcome": {"outcome": "no_node"},
        "of a rare outcome": {"outcome": "gateway_failed"},
        "of an outcome that is not there": {"outcome": "refused", "model": "hardly-ever-asked"},
        "of a user": {"user": facts.user},
        "of another user": {"user": facts.account},
        "until a day": {"to": day},
        "of a rare key until a day": {"to": day, "key": facts.rare_key},
        "of a rare key, deep": {"before": facts.old, "key": facts.rare_key},
    }
    for name, filter in filters.items():
        yield name, path("/api/requests", **filter)


def request(facts):
    yield "request", f"/api/requests/{facts.request}"
    yield "its energy", f"/api/requests/{facts.request}/energy"
    yield "shares", "/api/splits"


def nodes(facts):
    yield "nodes", "/api/nodes"
    yield "a node", f"/api/nodes/{facts.nodes[1]}"
    yield "its energy", f"/api/nodes/{facts.nodes[1]}/energy"
    yield "its prices", path("/api/prices", node=facts.nodes[1])
    yield "its maintenance", f"/api/nodes/{facts.nodes[1]}/maintenance"


def operator(facts):
    month = moment(datetime.datetime.now(datetime.UTC) - 29 * DAY)
    yield "earnings", path("/api/ledger", **{"from": month}, limit=200)
    yield "earnings, deep", path("/api/ledger", **{"from": month}, limit=200, before=facts.old_line)
    yield "statement", path("/api/ledger", limit=100)


def administration(facts):
    yield "credits", path("/api/ledger/balance", account=facts.account)
    yield "lines", path("/api/ledger", account=facts.account, limit=50)
    yield "limits", f"/api/limits/account/{facts.account}"
    yield "aliases", "/api/aliases"
    yield "prices", "/api/prices"
    yield "attached", "/api/attached"


def outside_the_console(facts):
    yield "audit log", "/api/audit-log"
    yield "audit log of all", path("/api/audit-log", all="true")
    yield "usage as it is asked for without words", "/api/usage"
    yield "usage of a day by all there is", path("/api/usage", group_by="key,user,model,node,outcome", limit=1000)
    yield "usage of a model", path("/api/usage", model="gpt-oss-20b")
    month = int(time.time()) - 30 * 86_400
    yield "OpenAI's costs", path("/v1/organization/costs", start_time=month, limit=31)
    hours = path("/v1/organization/usage/completions", start_time=month, bucket_width="1h", limit=168, group_by="model")
    yield "OpenAI's usage", hours


PAGES = {
    "overview": overview,
    "requests": requests,
    "one request": request,
    "nodes": nodes,
    "operator": operator,
    "administration": administration,
    "API": outside_the_console,
}


class Client:
    """One connection that stays, as a browser's does."""

    def __init__(self, system):
        self.connection = http.client.HTTPConnection(system.url.removeprefix("http://"), timeout=60)
        self.headers = {"Authorization": f"Bearer {system.environment['ADMIN_TOKEN']}"}

    def milliseconds(self, path):
        """Until the whole answer is there; of a stream, until its first event is."""
        begun = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {answer.read().decode()}")
        if answer.getheader("Content-Type") == "text/event-stream":
            answer.readline()
            self.connection.close()
        else:
            answer.read()
        return (time.perf_counter() - begun) * 1000


def percentile(times, part):
    return sorted(times)[max(0, -(-len(times) * part // 100) - 1)]


def measure(system, facts):
    """Every call, in turns, so that none finds its own pages in memory more than in life. Returns those that take too long."""
    client = Client(system)
    calls = [(page, *call) for page, of in PAGES.items() for call in of(facts)] + [("live", "first event", "/api/live")]
    times = {call: [] for call in calls}
    for _ in range(TIMES):
        for call in calls:
            times[call].append(client.milliseconds(call[2]))
    slow = []
    print(f"\n{'page':15} {'call':42} {'p50':>8} {'p95':>8} {'most':>8}  milliseconds")
    for (page, name, _), taken in times.items():
        p50, p95 = percentile(taken, 50), percentile(taken, 95)
        late = p95 > MOST_MILLISECONDS
        slow += [f"{page}: {name}"] if late else []
        print(f"{page:15} {name:42} {p50:8.1f} {p95:8.1f} {max(taken):8.1f}{'  too long' if late else ''}")
    return slow


def check_sums(system, facts):
    """Quick figures that are wrong are worth nothing."""
    client = Client(system)
    fields = ("requests", "prompt_tokens", "completion_tokens", "nanocredits", "microjoules", "facility_microjoules", "micrograms_co2e")
    ours = f"from requests where account_id = '{facts.account}'"
    energy = f"from request_energy where delivered and believed and request_id in (select id {ours})"
    booked = (
        f"select json_build_array(count(*), sum(prompt_tokens), sum(completion_tokens), sum(nanocredits), sum(microjoules),"
        f" (select sum(facility_microjoules) {energy}), (select sum(micrograms_co2e) {energy})) {ours}"
    )

    def shown():
        client.connection.request("GET", "/api/usage?bucket=month&group_by=&from=2020-01-01T00:00:00Z", headers=client.headers)
        rows = json.loads(client.connection.getresponse().read())["data"]
        return [sum(row[field] for row in rows) for field in fields]

    # The last answer's row may be on its way still.
    eventually("the overview's figures are those of the rows", lambda: shown() == json.loads(psql(system, booked)))
    print(f"the overview's figures are those of the rows: {dict(zip(fields, shown(), strict=True))}", flush=True)


def look(system, facts):
    """The pages in a browser, which makes the calls and draws what they say."""
    environment = {
        **os.environ,
        "CONSOLE_URL": system.environment["CONSOLE_URL"],
        "EMAIL": system.environment["ADMIN_EMAIL"],
        "PASSWORD": system.environment["ADMIN_PASSWORD"],
        "API_KEY": system.environment["API_KEY"],
        "ADMIN_TOKEN": system.environment["ADMIN_TOKEN"],
        "MODEL": system.environment["MODEL"],
        "STORY": str(SQL / "pages.test.mjs"),
        "REQUEST": facts.request,
        "NODE": facts.nodes[1],
        "MEASURED": str(system.folder / "pages.json"),
    }
    done = subprocess.run([PROJECT / "tests/console/run"], env=environment, check=False)
    if done.returncode == SKIPPED:
        return
    if done.returncode:
        sys.exit("the pages could not be looked at")
    print(f"\n{'page':58} {'p50':>8} {'p95':>8} {'most':>8}  milliseconds until it is filled")
    for name, taken in json.loads((system.folder / "pages.json").read_text()).items():
        p50, p95 = percentile(taken, 50), percentile(taken, 95)
        print(f"{name:58} {p50:8.1f} {p95:8.1f} {max(taken):8.1f}")


def main():
    if not shutil.which("psql"):
        skip("nothing was measured: there is no psql (Debian's package postgresql-client).")
    with System() as system:
        system.answer()
        eventually("the request is in Postgres", lambda: '"id"' in ask(f"{system.url}/api/requests", key=system.environment["ADMIN_TOKEN"])[1])
        fill(system, COUNT, DAYS)
        system.answer()
        facts = Facts(system)
        check_sums(system, facts)
        slow = measure(system, facts)
        look(system, facts)
    if slow:
        sys.exit(f"longer than {MOST_MILLISECONDS} ms: " + "; ".join(slow))
    print(f"\nevery call stays under {MOST_MILLISECONDS} ms")


if __name__ == "__main__":
    main()
