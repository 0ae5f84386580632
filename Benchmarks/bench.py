#!/usr/bin/env python3
"""Runs kload against a fresh broker and against floor, alternating, and prints one table.

kload and floor are in OTTLA_LOAD (see its README.md): a load generator that verifies what comes back and charges the
server with its CPU time, and the least that a server can do for it. The broker's cost is quoted as a multiple of the
floor's in the same run, since the machine differs from day to day.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    title: str
    options: str
    kafka: tuple[float, float]  # CPU seconds per million records, or p50 and p99 in ms
    kafka_floors: tuple[str, str]
    megabytes: int  # about what a run writes
    latency: bool = False


# The options and Kafka's figures are those of the load folder's README, the ones measured beside the floor.
ROWS = [
    Row("librdkafka", "librdkafka 100 B", "-n 2m -s 100", (0.35, 0.090), ("5.8", "2.6"), 230),
    Row(
        "lz4", "idempotent, lz4", "-n 2m -s 100 --idempotent -z lz4 --fill text", (0.44, 0.080), ("8.0", "2.7"), 120
    ),
    Row("raw", "raw 100 B, 1 MB batches", "-n 10m -s 100 --raw", (0.30, 0.062), ("6.2", "2.4"), 1100),
    Row("raw16k", "raw 100 B, 16 KB batches", "-n 3m -s 100 --raw --batch-bytes 16384", (1.15, 0.053), ("9.6", "2.6"), 330),
    Row("raw1k", "raw 1 KB", "-n 1m -s 1024 --raw", (1.50, 0.52), ("3.3", "2.3"), 1050),
    Row("p1000", "1,000 partitions, librdkafka", "-n 2m -s 100 -p 1000", (7.65, 0.095), ("66", "4.8"), 260),
    Row(
        "p1000raw",
        "1,000 partitions, raw",
        "-n 5m -s 100 -p 1000 --raw --batch-bytes 32768",
        (2.05, 0.062),
        ("22", "1.6"),
        560,
    ),
    Row(
        "idle",
        "1,000 idle, 50 active",
        "-n 1m -s 100 -p 50 -P 50 -i 1000 --queue 5000",
        (1.04, 0.18),
        ("8.7", "9.0"),
        130,
    ),
    Row("e2e10k", "end to end, 10,000/s", "-m latency -n 50k -r 10k -l 0", (3.7, 55), ("18", "4–25"), 8, True),
    Row("e2e1k", "end to end, 1,000/s", "-m latency -n 5k -r 1k -l 0", (0.47, 110), ("2", "85"), 1, True),
]


class Server:
    """A broker or a floor, fresh, on a folder and a port of its own; with `keep` on the folder as it is, which stays."""

    def __init__(self, name: str, command: list[str], folder: pathlib.Path, port: int, keep: bool = False):
        self.name, self.folder, self.port, self.keep = name, folder, port, keep
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.log = open(folder.with_suffix(".log"), "w")
        # Without our own variables, which the broker would take for settings.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OTTLA_")}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment
        )
        end = time.monotonic() + 20
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended with {self.process.returncode}, see {self.log.name}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    self.stop()
                    raise RuntimeError(f"{name} does not answer on port {port}, see {self.log.name}") from None
                time.sleep(0.01)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM if self.name == "ottla" else signal.SIGKILL)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def recycle_pages(folder: pathlib.Path, megabytes: int) -> None:
    """Writes and deletes a file of the run's size: fresh pages cost the kernel three times what recycled ones do."""
    block = bytes(1 << 20)
    path = folder / "pages"
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(block)
    path.unlink()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    def __init__(self, arguments, load: pathlib.Path):
        self.arguments = arguments
        self.folder = pathlib.Path(arguments.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kload = self._built(load, "kload", shlex.split(self._output("pkg-config", "--cflags", "--libs", "rdkafka")))
        self.floor = self._built(load, "floor", [])

    @staticmethod
    def _output(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def _built(self, load: pathlib.Path, name: str, libraries: list[str]) -> pathlib.Path:
        source, target = load / f"{name}.c", self.folder / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["cc", "-O2", "-o", target, source, *libraries, "-pthread"], check=True)
        return target

    def start(self, name: str) -> Server:
        # floor takes ports up to 32767 only.
        port = 20000 + free_port() % 10000
        data = self.folder / f"{name}-data"
        if name == "floor" or not self.arguments.binary:
            return Server(name, [str(self.floor), "-p", str(port), "-d", str(data)], data, port)
        command = [self.arguments.binary, "serve"]
        settings = [f"listeners=PLAINTEXT://127.0.0.1:{port}", f"log.dirs={data}", *self.arguments.override]
        for one in settings:
            command += ["--override", one]
        return Server(name, command, data, port)

    def run(self, row: Row, name: str) -> dict:
        """One run of kload; its result, or {"failed": why}."""
        recycle_pages(self.folder, row.megabytes)
        server = self.start(name)
        try:
            words = [str(self.kload), "-b", f"127.0.0.1:{server.port}", *row.options.split()]
            words += ["--pid", str(server.process.pid), "--label", f"{row.key} {name}"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
            if server.process.poll() is not None:
                return {"failed": f"{name} ended with {server.process.returncode}"}
            if not done.stdout.strip():
                return {"failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
            result = json.loads(done.stdout)
            if not result["verified"]:
                parts = [result.get(part, {}) for part in ("produce", "consume")]
                told = [one["error"] for one in parts if "error" in one]
                result["failed"] = told[0] if told else "not all records arrived once and unchanged"
            if self.arguments.json:
                with open(self.arguments.json, "a") as file:
                    file.write(json.dumps({"row": row.key, "server": name, **result}) + "\n")
            return result
        except subprocess.TimeoutExpired:
            return {"failed": "no end after 600 s"}
        finally:
            server.stop()


# ------------------------------------------------------------------------------------------- the table


def cpu(runs: list[dict], part: str) -> float:
    """CPU seconds per million records, over all runs: ticks are 10 ms, and single runs are only some of them."""
    return sum(one[part]["server_cpu_s"] for one in runs) / sum(one[part]["records"] for one in runs) * 1e6


def seconds(runs: list[dict], part: str) -> float:
    return statistics.median(one[part]["seconds"] for one in runs)


def latency(runs: list[dict], which: str) -> float:
    return statistics.median(one["consume"]["e2e_ms"][which] for one in runs)


def ratio(one: float, other: float) -> str:
    return f"{one / other:.1f}" if other > 0 else "–"


def figure(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


HEAD = [
    "case",
    "ottla",
    "floor",
    "in floors",
    "Kafka in floors",
    "Kafka's figure",
    "of Kafka's",
    "peak MB",
    "seconds",
]


def cells(row: Row, results: dict[str, list[dict]]) -> list[str]:
    failed = [f"{name}: {one['failed']}" for name, runs in results.items() for one in runs if "failed" in one]
    if failed:
        return [row.title, "FAILED", failed[0]]
    ottla, floor = results["ottla"], results["floor"]
    if row.latency:
        mine = [latency(ottla, "p50"), latency(ottla, "p99")]
        least = [latency(floor, "p50"), latency(floor, "p99")]
        title = f"{row.title}, p50 / p99 ms"
    else:
        mine = [cpu(ottla, "produce"), cpu(ottla, "consume")]
        least = [cpu(floor, "produce"), cpu(floor, "consume")]
        title = row.title
    both = lambda pair: " / ".join(map(figure, pair))  # noqa: E731
    peak = max(one["server"]["hwm_mb"] for one in ottla)
    return [
        title,
        both(mine),
        both(least),
        f"{ratio(mine[0], least[0])} / {ratio(mine[1], least[1])}",
        " / ".join(row.kafka_floors),
        both(row.kafka),
        f"{ratio(mine[0], row.kafka[0])} / {ratio(mine[1], row.kafka[1])}",
        f"{peak:.0f}",
        f"{seconds(ottla, 'produce'):.1f} / {seconds(ottla, 'consume'):.1f}",
    ]


def print_table(lines: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in [HEAD, *lines] if i < len(line) and "FAILED" not in line) for i in range(len(HEAD))]
    rows = [HEAD, ["-" * width for width in widths], *lines]
    for line in rows:
        print("| " + " | ".join(cell.ljust(widths[i]) for i, cell in enumerate(line)) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description=__doc__.split("\n\n")[0],
        epilog="rows: " + ", ".join(row.key for row in ROWS),
    )
    parser.add_argument("rows", nargs="*", help="which rows to run (all)")
    parser.add_argument("-r", "--repetitions", type=int, default=3, help="runs a row and server (3)")
    parser.add_argument("--override", action="append", default=[], help="KEY=VALUE for the broker")
    parser.add_argument("--json", help="append kload's own results to this file")
    parser.add_argument("--binary", default=os.environ.get("OTTLA_BINARY"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", default=os.environ.get("OTTLA_BENCH_FOLDER", ".build/bench"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    known = {row.key: row for row in ROWS}
    unknown = [key for key in arguments.rows if key not in known]
    if unknown:
        parser.error(f"no row {unknown[0]}; there are {', '.join(known)}")
    load = pathlib.Path(os.environ["OTTLA_LOAD"])
    bench = Bench(arguments, load)
    if not arguments.binary:
        print("no broker: floor plays both parts", file=sys.stderr)

    lines, ok = [], True
    for row in [known[key] for key in arguments.rows] or ROWS:
        results: dict[str, list[dict]] = {"ottla": [], "floor": []}
        for repetition in range(arguments.repetitions):
            # Whoever is first finds another machine than who is second; take turns.
            for name in ("ottla", "floor") if repetition % 2 else ("floor", "ottla"):
                result = bench.run(row, name)
                results[name].append(result)
                print(f"{row.title}, {name}: {result.get('failed', 'ok')}", file=sys.stderr, flush=True)
        lines.append(cells(row, results))
        ok = ok and "FAILED" not in lines[-1]
    print("\nCPU seconds of the server per million records, produce / consume; sums over the runs of a row.\n")
    print_table(lines)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
