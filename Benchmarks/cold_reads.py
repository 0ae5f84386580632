#!/usr/bin/env python3
"""What a consumer of cold data does to the tail: latencies of records that pass end to end, while one reader goes through
data that was dropped from the page cache, and while it goes through data that is in it; both in one run, in turns.

    script/bench cold                 4 GB at 200 MB/s beside 10,000 records a second
    script/bench cold --gb 20         20 GB
    script/bench cold --cleaner 30    and 30 MB/s are written to a compacted topic, which keeps the cleaner busy
    script/bench cold --restart       the data is from before the broker's start, so that it is checked when it is read

On a machine that others use too, `--first` lets the broker and the clients run before all else (SCHED_RR, as root; the
cleaner then is no less urgent than the rest). A virtual machine may stand still altogether when its host's share of
processor is used up, and giving back the memory that a dropped page cache leaves is such work: `--settle` waits so long
after each drop, and each line says for how long the machine stood still.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys

from bench import Server, free_port

root = pathlib.Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="script/bench cold", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4, help="that are read cold, and warm (4)")
    parser.add_argument("--rate", type=float, default=200, help="MB/s of the reader (200)")
    parser.add_argument("--fetch", type=int, default=1 << 20, help="bytes that it asks for at once (1 MiB)")
    parser.add_argument("--seconds", type=float, default=10, help="of each part (10)")
    parser.add_argument("--settle", type=float, default=15, help="seconds of rest before each part (15)")
    parser.add_argument("--records", type=float, default=10_000, help="a second that pass end to end (10,000)")
    parser.add_argument("--every", type=float, default=1, help="ms between two batches of them; 0: one by one (1)")
    parser.add_argument("--cleaner", type=float, default=0, metavar="MB/S", help="written to a compacted topic (0)")
    parser.add_argument("--stalls", type=float, default=0, metavar="MS", help="tell of each record that is so late")
    parser.add_argument("--restart", action="store_true", help="the broker, after the data is written")
    parser.add_argument("--first", action="store_true", help="before whatever else runs on the machine")
    parser.add_argument("--override", action="append", default=[], help="KEY=VALUE for the broker")
    arguments = parser.parse_args()
    folder = pathlib.Path(os.environ.get("OTTLA_BENCH_FOLDER", ".build/bench"))
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "cold_reads"
    subprocess.run(["cc", "-O2", "-pthread", "-o", program, root / "cold_reads.c"], check=True)
    first = ["chrt", "--rr", "1"] if arguments.first else []
    data, port = folder / "cold-data", 20000 + free_port() % 10000

    def start() -> Server:
        command = [*first, os.environ["OTTLA_BINARY"], "serve"]
        for setting in [f"listeners=PLAINTEXT://127.0.0.1:{port}", f"log.dirs={data}", *arguments.override]:
            command += ["--override", setting]
        return Server("ottla", command, data, port, keep=True)

    server = start()
    try:
        # A little more than is read: the last part is a whole one.
        subprocess.run([program, "fill", str(port), "cold", str(arguments.gb * 1010 + 200)], check=True)
        if arguments.restart:
            server.stop()
            server = start()
        keys = {
            "rate": arguments.rate,
            "fetch": arguments.fetch,
            "seconds": arguments.seconds,
            "settle": arguments.settle,
            "records": arguments.records,
            "every": arguments.every,
            "compacted": arguments.cleaner,
            "stalls": arguments.stalls,
            "pid": server.process.pid,
        }
        words = [f"{key}={value}" for key, value in keys.items()]
        done = subprocess.run(
            [*first, program, "run", str(port), data, "cold", str(arguments.gb * 1000), *words], check=False
        )
        return done.returncode
    finally:
        server.keep = False
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
