#!/usr/bin/env python3
"""llama.cpp's server out of the Python package xllamacpp, with the options that the benchmark gives to `llama-server`."""

import argparse
import signal
from importlib.metadata import version

import xllamacpp

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--version", action="version", version=f"version: xllamacpp {version('xllamacpp')}")
options.add_argument("--model", required=True)
options.add_argument("--host", default="127.0.0.1")
options.add_argument("--port", type=int, required=True)
options.add_argument("--threads", type=int, required=True)
options.add_argument("--threads-batch", type=int, required=True)
options.add_argument("--parallel", type=int, required=True, help="answers that are made at once")
options.add_argument("--ctx-size", type=int, required=True, help="tokens of all of them together")
given = options.parse_args()

settings = xllamacpp.CommonParams()
settings.model.path = given.model
settings.hostnames, settings.port = [given.host], given.port
settings.cpuparams.n_threads, settings.cpuparams_batch.n_threads = given.threads, given.threads_batch
settings.n_parallel, settings.n_ctx = given.parallel, given.ctx_size
# It would look for an accelerator's memory.
settings.fit_params = False
server = xllamacpp.Server(settings)
signal.pause()
