#!/usr/bin/env python3
"""Heartbeats of many members through sockets, beside a server that sends back what it gets; how long a large group of
KIP-848 needs when members leave and join; and how long a start takes that finds the offsets of very many groups.

  script/bench groups                    all of it
  script/bench groups heartbeats         10,000 connections; -c, -s, --rate: other numbers
  script/bench groups rebalance          1,000 members on 1,000 partitions
  script/bench groups load-offsets       a million offsets of 100,000 groups
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import time

from bench import Server, free_port

here = pathlib.Path(__file__).resolve().parent


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = pathlib.Path(arguments.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("groups", "rebalance"):
            subprocess.run(["cc", "-O2", "-o", self.folder / name, here / f"{name}.c", "-pthread"], check=True)

    def broker(self, *settings: str, port: int | None = None, keep: bool = False) -> Server:
        port = port or 20000 + free_port() % 10000
        data = self.folder / "groups-data"
        words = [self.arguments.binary, "serve"]
        for one in [f"listeners=PLAINTEXT://127.0.0.1:{port}", f"log.dirs={data}/data", *settings, *self.arguments.override]:
            words += ["--override", one]
        return KeptServer(words, data, port) if keep else Server("ottla", words, data, port)

    def echo(self) -> Server:
        port = 20000 + free_port() % 10000
        return Server("echo", [str(self.folder / "groups"), "echo", str(port), str(os.cpu_count())], self.folder / "echo-data", port)

    def run(self, *words, program: str = "groups") -> dict:
        command = [str(self.folder / program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if not done.stdout.strip():
            raise RuntimeError(done.stderr.strip() or f"{program} {words[0]} ended with {done.returncode}")
        result = json.loads(done.stdout)
        if result.get("errors"):
            raise RuntimeError(f"{result['errors']} answers with errors")
        return result


class KeptServer(Server):
    """Started on the folder as it is, and left so."""

    def __init__(self, command: list[str], folder: pathlib.Path, port: int):
        self.name, self.folder, self.port = "ottla", folder, port
        folder.mkdir(parents=True, exist_ok=True)
        self.log = open(folder.with_suffix(".log"), "w")
        self.began = time.monotonic()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OTTLA_")}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


# -------------------------------------------------------------------------------------------- heartbeats


def heartbeats(bench: Bench) -> bool:
    arguments = bench.arguments

    def patient() -> Server:
        # With Kafka's 50 most of so many connections at once wait for a second, until they try again.
        return bench.broker("socket.listen.backlog.size=4096")

    print(f"| heartbeats, {arguments.connections:,} connections | ottla | echo | in echoes | a second | p99 ms |")
    print("| - | - | - | - | - | - |")
    ok = True
    for kind in arguments.kinds:
        results = {"echo": [], kind: []}
        for _ in range(arguments.repetitions):
            for name, start in (("echo", bench.echo), (kind, patient)):
                server = start()
                try:
                    results[name].append(
                        bench.run("beat", name, server.port, server.process.pid, arguments.connections,
                                  arguments.seconds, arguments.rate, arguments.members)
                    )
                finally:
                    server.stop()
        mine, least = (statistics.median(one["cpu_us"] for one in results[name]) for name in (kind, "echo"))
        rates = [statistics.median(one["per_s"] for one in results[name]) for name in (kind, "echo")]
        late = [statistics.median(one["p99_ms"] for one in results[name]) for name in (kind, "echo")]
        print(
            f"| {kind}, µs of the server's processors | {mine:.2f} | {least:.2f} | {mine / least:.2f} "
            f"| {rates[0]:,.0f} / {rates[1]:,.0f} | {late[0]:.1f} / {late[1]:.1f} |",
            flush=True,
        )
        ok = ok and mine <= 1.5 * least
    return ok


# --------------------------------------------------------------------------------------------- rebalance


def rebalance(bench: Bench) -> bool:
    members, rounds = bench.arguments.group_size, bench.arguments.rounds
    server = bench.broker()
    try:
        told = bench.run(server.port, members, members, rounds, program="rebalance")
    finally:
        server.stop()
    limit = 2 * told["interval_s"] + 1
    print(
        f"{members:,} members on as many partitions, all there after {told['first_s']} s; {rounds} of them leave: owned "
        f"again after {told['left_s'][0]} s (the slowest {told['left_s'][1]} s), and come back: {told['joined_s'][0]} s "
        f"({told['joined_s'][1]} s); two heartbeat intervals and a second: {limit:.0f} s; taken from members that stay: "
        f"{told['taken_by_leaving']} and {told['taken_by_joining']}; two owners at a time: {told['owned_twice']}"
    )
    # A member that comes takes over one partition of the member that has two.
    is_least = told["taken_by_leaving"] == 0 and told["taken_by_joining"] <= rounds
    return is_least and max(told["left_s"][1], told["joined_s"][1]) <= limit and told["owned_twice"] == 0


# ------------------------------------------------------------------------------------------ load-offsets


def groups_listed(port: int) -> int:
    """ListGroups 0: how many groups there are, -1 while they are loaded."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(struct.pack(">ihhih5s", 15, 16, 0, 1, 5, b"bench"))
            file = connection.makefile("rb")
            size, _, error, count = struct.unpack(">iihi", file.read(14))
            file.read(size - 10)
            return count if error == 0 else -1
    except OSError:
        return -1


def resident(pid: int) -> float:
    """MB of memory of its own, files of the page cache not counted."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text).group(1)) / 1024


def load_offsets(bench: Bench) -> bool:
    groups, partitions = bench.arguments.groups, 10
    server = bench.broker("min.insync.replicas=1", keep=False)
    port = server.port
    try:
        empty = resident(server.process.pid)
        told = bench.run("commit", port, groups, partitions)
        print(f"{told['offsets']:,} offsets of {groups:,} groups committed in {told['seconds']} s")
        server.process.terminate()
        server.process.wait(60)
        took = []
        for _ in range(bench.arguments.repetitions):
            again = bench.broker(port=port, keep=True)
            while groups_listed(port) != groups:
                if time.monotonic() > again.began + 120:
                    raise RuntimeError(f"{groups_listed(port)} groups after 120 s")
                time.sleep(0.005)
            took.append(time.monotonic() - again.began)
            held = resident(again.process.pid) - empty
            again.end()
    finally:
        server.stop()
    print(
        f"loaded {statistics.median(took):.2f} s after the start of the process (the slowest {max(took):.2f} s); "
        f"{held:.0f} MB: {held * 2**20 / groups:.0f} bytes a group with its {partitions} offsets"
    )
    return statistics.median(took) <= 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench groups", description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", help="heartbeats, rebalance, load-offsets (all)")
    parser.add_argument("-c", "--connections", type=int, default=10_000)
    parser.add_argument("-s", "--seconds", type=float, default=5)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0, help="heartbeats a second (as many as are answered)")
    parser.add_argument("--members", type=int, default=100, help="of a group")
    parser.add_argument("--group-size", type=int, default=1000, help="members of the group that is rebalanced")
    parser.add_argument("--rounds", type=int, default=10, help="in each a member leaves, and one comes")
    parser.add_argument("--groups", type=int, default=100_000, help="that have offsets")
    parser.add_argument("--kinds", nargs="+", default=["classic", "consumer"], help="classic, consumer")
    parser.add_argument("--override", action="append", default=[], help="KEY=VALUE for the broker")
    parser.add_argument("--binary", default=os.environ.get("OTTLA_BINARY"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", default=os.environ.get("OTTLA_BENCH_FOLDER", ".build/bench"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    parts = {"heartbeats": heartbeats, "rebalance": rebalance, "load-offsets": load_offsets}
    return 0 if all([parts[name](bench) for name in arguments.parts or parts]) else 1


if __name__ == "__main__":
    sys.exit(main())
