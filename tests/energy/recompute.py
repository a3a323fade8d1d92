"""Recomputes every energy figure that follows from others, with arithmetic of its own.

Payloads stand on standard input, one JSON object a line: `usage.energy`, or the content of the comment `: energy {…}`.
Says what is wrong with which, then `N payloads, M wrong`, and fails when any is. A figure is right when it is off by one
unit in its third digit at most, which is how many digits are shown.
"""

import json
import sys
from decimal import Decimal

JOULES_PER_KWH = 3_600_000
JOULES_PER_WH = 3_600
MILLIONTH, BILLIONTH = Decimal("1e-6"), Decimal("1e-9")
# Of an answer without a figure there is none at all: a zero would be a claim.
FIGURES = {
    "joules", "interval_90", "marginal_joules", "prefill_joules", "decode_joules", "idle_share_joules",
    "facility_joules", "g_co2e", "embodied_g", "energy_joules", "energy_kwh", "kwh", "wh", "avg_power_watts",
}
# From these everything else follows.
GIVEN = {"joules", "idle_share_joules", "prefill_joules", "pue"}


def expected(payload):
    """What each figure should be, and the unit in which it is counted."""
    joules, pue = payload["joules"], payload["pue"]
    facility = (joules + payload["idle_share_joules"]) * pue
    yield "facility_joules", facility, MILLIONTH
    yield "decode_joules", joules - payload["prefill_joules"], MILLIONTH
    if "grid_g_per_kwh" in payload:
        yield "g_co2e", facility / JOULES_PER_KWH * payload["grid_g_per_kwh"], BILLIONTH
    if "duration_seconds" in payload:
        yield "energy_joules", joules, MILLIONTH
        yield "energy_kwh", joules / JOULES_PER_KWH, Decimal(0)
        yield "kwh", joules / JOULES_PER_KWH, Decimal(0)
        yield "wh", joules / JOULES_PER_WH, Decimal(0)
        yield "avg_power_watts", joules / payload["duration_seconds"], MILLIONTH


def unit(figure):
    """One in its third digit."""
    return Decimal(1).scaleb(figure.adjusted() - 2) if figure else Decimal(0)


def complaints(payload):
    if "joules" not in payload:
        made_up = sorted(FIGURES & payload.keys())
        if made_up:
            yield f"{made_up} without joules"
        if (payload.get("tier"), payload.get("status")) != ("X", "unverified"):
            yield "no joules, and not said to be unverified"
        return
    if payload.get("tier") == "X":
        yield "joules that nobody has verified"
    missing = sorted(GIVEN - payload.keys())
    if missing:
        yield f"nothing follows without {missing}"
        return
    if ("g_co2e" in payload) != ("grid_g_per_kwh" in payload):
        yield "carbon without a grid, or a grid without carbon"
    for name, figure, counted_in in expected(payload):
        shown = payload.get(name)
        if shown is None:
            yield f"no {name}"
        elif abs(shown - figure) > max(unit(figure), unit(shown), counted_in):
            yield f"{name} is {shown}, and follows to be {figure:.6g}"


def main():
    payloads = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in sys.stdin if line.strip()]
    wrong = 0
    for number, payload in enumerate(payloads, start=1):
        found = list(complaints(payload))
        wrong += bool(found)
        for complaint in found:
            print(f"payload {number}: {complaint}")
    print(f"{len(payloads)} payloads, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
