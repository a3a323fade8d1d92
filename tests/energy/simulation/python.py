"""The simulation once more, in Python and without the Rust: both print the same table.

    python3 python.py            all cases
    python3 python.py 0 2        the first and the third

Needs nothing but the standard library. What is simulated is described in scenario.rs and rules.rs.
"""

import math
import random
import sys

STEP_J, SEQUENCE_J, PROMPT_TOKEN_J, IDLE_W = 3.27, 0.0656, 0.0226, 110.0
STEP_S, SEQUENCE_S, PROMPT_TOKEN_S = 0.0062, 0.000093, 32e-6
SECONDS = 180.0

# name, seed, arrivals per second, refresh of the counter (s), lag (s), noise, exponent of the batch
CASES = [
    ("0.3 requests/s", 1, 0.3, 0.1, 0.03, 0.0, 0.97),
    ("2 requests/s", 1, 2.0, 0.1, 0.03, 0.0, 0.97),
    ("10 requests/s", 1, 10.0, 0.1, 0.03, 0.0, 0.97),
    ("24 requests/s", 1, 24.0, 0.1, 0.03, 0.0, 0.97),
    ("30 requests/s", 1, 30.0, 0.1, 0.03, 0.0, 0.97),
    ("10 requests/s, 2 % noise, lag to 100 ms", 2, 10.0, 0.1, 0.1, 0.02, 0.97),
    ("10 requests/s, counter of 1 s, lag to 200 ms", 3, 10.0, 1.0, 0.2, 0.0, 0.97),
    ("10 requests/s, strongly concave", 4, 10.0, 0.1, 0.03, 0.0, 0.75),
]
COLUMNS = ["start/stop", "equal", "output tokens", "all tokens", "prior, 30 % off", "prior, 2.5 times off", "calibrated"]


class Request:
    def __init__(self, arrival, prompt, output):
        self.arrival, self.prompt, self.output = arrival, prompt, output
        self.made, self.end, self.truth = 0, 0.0, 0.0


def arrivals(rng, rate):
    requests, now = [], 0.0
    while now < SECONDS - 20:
        now += rng.expovariate(rate)
        prompt = int(min(4000, max(8, rng.lognormvariate(math.log(200), 1.0))))
        output = int(min(2000, max(4, rng.lognormvariate(math.log(200), 0.9))))
        requests.append(Request(now, prompt, output))
    return requests


def prefill(rng, requests, batch):
    """Joules and seconds of a step that computes the prompts of a batch."""
    tokens = sum(requests[r].prompt for r in batch)
    own = PROMPT_TOKEN_J * tokens * rng.uniform(0.95, 1.05)
    for r in batch:
        requests[r].truth += STEP_J / len(batch) + own * requests[r].prompt / tokens
    return STEP_J + own, STEP_S + PROMPT_TOKEN_S * tokens


def decode(rng, requests, batch, exponent):
    """Joules and seconds of a step that computes a token for everybody in a batch."""
    costs = [1 + 0.15 * (requests[r].prompt + requests[r].made) / 1000 for r in batch]
    own = SEQUENCE_J * sum(costs) * len(batch) ** (exponent - 1)
    fixed = STEP_J * rng.uniform(0.97, 1.03)
    for r, cost in zip(batch, costs):
        requests[r].truth += fixed / len(batch) + own * cost / sum(costs)
        requests[r].made += 1
    return fixed + own, STEP_S + SEQUENCE_S * len(batch)


def serve(rng, requests, exponent):
    """Spans (from, to, joules, kind, batch) in order; kind is prefill, decode or idle."""
    spans, waiting, running, arrived, now = [], [], [], 0, 0.0
    while arrived < len(requests) or waiting or running:
        while arrived < len(requests) and requests[arrived].arrival <= now:
            waiting.append(arrived)
            arrived += 1
        began = now
        if waiting:
            batch, tokens = [], 0
            while waiting and (not batch or tokens + requests[waiting[0]].prompt <= 4096):
                batch.append(waiting.pop(0))
                tokens += requests[batch[-1]].prompt
            joules, seconds = prefill(rng, requests, batch)
            now += seconds
            spans.append((began, now, joules, "prefill", batch))
            running = running + batch
        elif running:
            joules, seconds = decode(rng, requests, running, exponent)
            now += seconds
            spans.append((began, now, joules, "decode", running))
            for r in running:
                requests[r].end = now
            running = [r for r in running if requests[r].made < requests[r].output]
        else:
            now = requests[arrived].arrival
            spans.append((began, now, IDLE_W * (now - began), "idle", []))
    return spans


def counter(rng, spans, refresh, lag, noise):
    """Edges of the windows and what the counter moved in each."""
    edges, shown, whole, at = [0.0], [], 0.0, 0
    while edges[-1] < spans[-1][1]:
        edges.append(edges[-1] + refresh)
    for edge in edges:
        until = max(0.0, edge - lag * rng.random())
        while at < len(spans) and spans[at][1] <= until:
            whole += spans[at][2]
            at += 1
        begun = at < len(spans) and spans[at][0] < until
        part = spans[at][2] * (until - spans[at][0]) / (spans[at][1] - spans[at][0]) if begun else 0.0
        shown.append(whole + part)
    shown[-1] = sum(span[2] for span in spans)
    return edges, [(after - before) * (1 + rng.gauss(0, noise)) for before, after in zip(shown, shown[1:])]


def lay(spans, edges, refresh):
    """For every window: (span, part of it in the window, seconds)."""
    windows = [[] for _ in edges[1:]]
    for span in spans:
        for k in range(int(span[0] / refresh), min(len(windows) - 1, int(span[1] / refresh)) + 1):
            seconds = min(span[1], edges[k + 1]) - max(span[0], edges[k])
            if seconds > 0:
                windows[k].append((span, seconds / (span[1] - span[0]), seconds))
    return windows


def fit(requests, windows, moved):
    """Least squares for joules of a step, a sequence, a token of a prompt, and a second of idleness."""
    normal = [[1e-6 * (i == j) for j in range(4)] + [0.0] for i in range(4)]
    for k in range(5, len(windows) // 2):
        x = [0.0] * 4
        for (_, _, _, kind, batch), part, seconds in windows[k]:
            x[0] += part if kind != "idle" else 0
            x[1] += part * len(batch) if kind == "decode" else 0
            x[2] += part * sum(requests[r].prompt for r in batch) if kind == "prefill" else 0
            x[3] += seconds if kind == "idle" else 0
        for i in range(4):
            for j in range(4):
                normal[i][j] += x[i] * x[j]
            normal[i][4] += x[i] * moved[k]
    for i in range(4):
        pivot = max(range(i, 4), key=lambda row: abs(normal[row][i]))
        normal[i], normal[pivot] = normal[pivot], normal[i]
        for row in range(4):
            if row != i and normal[i][i]:
                factor = normal[row][i] / normal[i][i]
                normal[row] = [a - factor * b for a, b in zip(normal[row], normal[i])]
    return [max(0.0, normal[i][4] / normal[i][i]) if normal[i][i] else 0.0 for i in range(4)]


def weigher(column, requests, fitted):
    """What a piece adds to a request's weight, and watts for idleness."""
    if column == "output tokens":
        return lambda kind, part, batch, r: part if kind == "decode" else 0.0, 0.0
    if column == "all tokens":
        return lambda kind, part, batch, r: part * (1 if kind == "decode" else requests[r].prompt), 0.0
    step, sequence, token, idle = {
        "prior, 30 % off": (STEP_J * 1.3, SEQUENCE_J * 0.7, PROMPT_TOKEN_J * 0.7, IDLE_W * 1.2),
        "prior, 2.5 times off": (STEP_J, SEQUENCE_J * 0.4, PROMPT_TOKEN_J, IDLE_W),
        "calibrated": fitted,
    }[column]

    def share(kind, part, batch, r):
        return part * (step / len(batch) + (sequence if kind == "decode" else token * requests[r].prompt))

    return share, idle


def divide(column, requests, windows, moved, refresh, fitted):
    """Joules for each request, and for nobody."""
    if column == "start/stop":
        total = [0.0]
        for joules in moved:
            total.append(total[-1] + joules)
        last = len(moved)
        spans = [(min(last, int(r.arrival / refresh)), min(last, int(r.end / refresh) + 1)) for r in requests]
        return [total[to] - total[start] for start, to in spans], 0.0
    weigh, watts = (None, 0.0) if column == "equal" else weigher(column, requests, fitted)
    given, nobody = [0.0] * len(requests), 0.0
    for pieces, joules in zip(windows, moved):
        weights, idle = {}, 0.0
        for (_, _, _, kind, batch), part, seconds in pieces:
            idle += watts * seconds if kind == "idle" else 0.0
            for r in batch:
                weights[r] = weights.get(r, 0.0) + weigh(kind, part, batch, r) if weigh else 1.0
        total = sum(weights.values()) + idle
        for r, weight in weights.items():
            given[r] += joules * weight / total if total > 0 else 0.0
        nobody += joules * idle / total if total > 0 else joules
    return given, nobody


def percentages(values):
    """Median and 95th percentile."""
    values = sorted(values)
    return f"{values[len(values) // 2] * 100:.2f} / {values[int(0.95 * len(values))] * 100:.2f}" if values else "none"


def judge(requests, given, nobody, measured):
    judged = [(g / r.truth - 1, r.end - r.arrival) for g, r in zip(given, requests) if r.arrival > SECONDS / 2]
    return [
        percentages(abs(error) for error, _ in judged),
        percentages(abs(error) for error, seconds in judged if seconds < 1),
        f"{sum(error for error, _ in judged) / len(judged) * 100:.2f}",
        f"{abs(sum(given) + nobody - measured) / measured * 100:.2f}",
    ]


def play(name, seed, rate, refresh, lag, noise, exponent):
    rng = random.Random(seed)
    requests = arrivals(rng, rate)
    spans = serve(rng, requests, exponent)
    edges, moved = counter(rng, spans, refresh, lag, noise)
    windows = lay(spans, edges, refresh)
    fitted = fit(requests, windows, moved)
    steps = [span for span in spans if span[4]]
    batch = sum(len(span[4]) for span in steps) / len(steps)
    cells = [
        judge(requests, *divide(column, requests, windows, moved, refresh, fitted), sum(moved)) for column in COLUMNS
    ]
    for measure, row in zip(("median / p95", "the same, under 1 s", "bias", "total off by"), zip(*cells)):
        print(f"| {name} | {batch:.1f} | {measure} | {' | '.join(row)} |")


if __name__ == "__main__":
    print(f"| load | batch | error in % | {' | '.join(COLUMNS)} |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for case in [int(argument) for argument in sys.argv[1:]] or range(len(CASES)):
        play(*CASES[case])
