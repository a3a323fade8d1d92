#!/usr/bin/env python3
"""Fits steps.csv: python3 fit.py FOLDER > steps.csv

FOLDER is data/models of the Python package leadgreen-mcp 0.3.1, which republishes the ML.ENERGY Leaderboard. Standard
library only; the same folder gives the same bytes.

A decode step of a continuous batch of B sequences costs about F + w·B. One step emits one token per sequence, so its
energy is joules per output token times B, and F and w are the least-squares line through those points.
"""

import json
import pathlib
import sys
from collections import defaultdict

CLASSES = {"H100": "nvidia-h100-sxm", "B200": "nvidia-b200"}
FEWEST_POINTS = 5
HEADER = (
    "model,class,devices,precision,billion_parameters,billion_active_parameters,"
    "fixed_microjoules_per_step,microjoules_per_sequence,lowest_batch,highest_batch,points,r2"
)


def series(folder):
    """{(model, class, devices, precision, parameters, active): [(batch, joules of a step)]}"""
    found = defaultdict(list)
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        for run in model["configurations"]:
            key = (
                model["model_id"],
                CLASSES[run["gpu"]],
                run["num_gpus"],
                run["precision"],
                model["params_b"],
                model["active_params_b"],
            )
            batch = run["avg_running_batch"]
            found[key].append((batch, run["joules_per_output_token"] * batch))
    return found


def line(points):
    """Intercept, slope and R² of the least-squares line."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    intercept = mean_y - slope * mean_x
    missed = sum((y - intercept - slope * x) ** 2 for x, y in points)
    return intercept, slope, 1 - missed / sum((y - mean_y) ** 2 for _, y in points)


def main(folder):
    print(HEADER)
    for key, points in sorted(series(folder).items()):
        if len(points) < FEWEST_POINTS:
            continue
        fixed, each, r2 = line(sorted(points))
        batches = [round(batch) for batch, _ in points]
        figures = [round(fixed * 1e6), round(each * 1e6), min(batches), max(batches), len(points), f"{r2:.4f}"]
        print(",".join(str(part) for part in [*key, *figures]))


if __name__ == "__main__":
    main(sys.argv[1])
