"""How long the API takes to answer many clients while a training runs; see README.md.

    python benchmarks/api_latency.py [--clients 50] [--seconds 20] [--pause 0.1] [--url URL]

Without ``--url`` it starts a server of its own and lets it train the pocket model. Prints JSON: for each endpoint the
number of answers and p50, p95, p99 in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "/lora-trainer/v1"
CONFIG = {
    "train_data_dir": str(ROOT / "pocket" / "brand"), "output_name": "latency", "resolution": [64],
    "max_steps": 100000, "epochs": 100000,
}  # fmt: skip


def main() -> None:
    options = _parser().parse_args()
    if options.url:
        _print(options, options.url)
        return
    with _server() as url:
        _print(options, url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pause", type=float, default=0.1, help="of a client between two requests, in seconds")
    parser.add_argument("--jobs", type=int, default=100, help="jobs that wait in the queue meanwhile")
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    return parser


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lora_scripts_ext", "serve", "--port", "0", "--data-dir", folder]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _print(options: argparse.Namespace, url: str) -> None:
    headers = dict(one.split(": ", 1) for one in options.header)
    training = _train(url, headers, options.jobs)
    endpoints = {
        "jobs list": f"{PREFIX}/jobs?limit=100", "job": f"{PREFIX}/jobs/{training}",
        "report": f"{PREFIX}/jobs/{training}/report", "queue": f"{PREFIX}/queue", "system": f"{PREFIX}/system",
        "schema": f"{PREFIX}/config/schema",
    }  # fmt: skip
    before = _step(url, headers, training)
    times = _poll(url, headers, list(endpoints.values()), options)
    steps = _step(url, headers, training) - before
    rows = {name: _row(times[path]) for name, path in endpoints.items()}
    rows["all"] = _row([one for answers in times.values() for one in answers])
    setting = {
        "clients": options.clients, "pause": options.pause, "seconds": options.seconds, "cpus": os.cpu_count(),
        "steps_trained_meanwhile": steps, "requests_per_second": round(rows["all"]["answers"] / options.seconds, 1),
    }  # fmt: skip
    print(json.dumps({**setting, "milliseconds": rows}, indent=1))
    for job in _ask(url, headers, "GET", f"{PREFIX}/jobs?state=running&state=queued&limit=1000")["items"]:
        _ask(url, headers, "POST", f"{PREFIX}/jobs/{job['id']}/cancel")


def _train(url: str, headers: dict[str, str], others: int) -> str:
    """Queue a training and others behind it; returns its id once it does steps."""
    job = _ask(url, headers, "POST", f"{PREFIX}/jobs", {"config": CONFIG})["id"]
    if others:
        batch = {"jobs": [{"config": CONFIG, "after": job} for _ in range(others)]}
        _ask(url, headers, "POST", f"{PREFIX}/jobs/batch", batch)
    until = time.monotonic() + 300
    while not _step(url, headers, job):
        if time.monotonic() > until:
            raise SystemExit(
                _ask(url, headers, "GET", f"{PREFIX}/jobs/{job}")["reason"] or "the training does not begin"
            )
        time.sleep(0.5)
    return job


def _step(url: str, headers: dict[str, str], job: str) -> int:
    return _ask(url, headers, "GET", f"{PREFIX}/jobs/{job}/report").get("step", 0)


def _ask(url: str, headers: dict[str, str], method: str, path: str, body: object = None) -> dict:
    connection = HTTPConnection(urlsplit(url).netloc)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {**headers, "Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status >= 300:
        raise SystemExit(f"{path}: {answer}")
    return answer


def _poll(url: str, headers: dict[str, str], paths: list[str], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each answer, by path: every client asks for one after the other."""
    times: dict[str, list[float]] = {path: [] for path in paths}
    end = time.monotonic() + options.seconds

    def client(number: int) -> None:
        connection = HTTPConnection(urlsplit(url).netloc)
        turn = number
        time.sleep(options.pause * number / options.clients)
        while time.monotonic() < end:
            path = paths[turn % len(paths)]
            turn += 1
            start = time.perf_counter()
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            times[path].append(time.perf_counter() - start)
            if response.status != 200:
                raise SystemExit(f"{path}: {response.status}")
            time.sleep(options.pause)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def _row(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        "answers": len(ordered),
        **{name: round(1000 * ordered[int(share * (len(ordered) - 1))], 1) for name, share in shares.items()},
    }


if __name__ == "__main__":
    main()
