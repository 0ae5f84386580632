#!/usr/bin/env python3
"""Transactions: how many a second from ten producers with one record each, and how long a commit over 100 partitions takes.

  script/bench transactions              both, by version 1 and by version 2 of transactions
  script/bench transactions -s 20        for 20 seconds a row
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess

from bench import Server, free_port

here = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", "--seconds", type=float, default=8)
    parser.add_argument("--binary", default=os.environ.get("OTTLA_BINARY"))
    parser.add_argument("--folder", default=os.environ.get("OTTLA_BENCH_FOLDER", ".build/bench"))
    parser.add_argument("--override", action="append", default=[])
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "transactions"
    subprocess.run(["cc", "-O2", "-o", program, here / "transactions.c", "-pthread"], check=True)
    for producers, partitions, what in ((10, 1, "10 producers, one record each"), (1, 100, "100 partitions")):
        for version in (1, 2):
            port = 20000 + free_port() % 10000
            data = folder / "transactions-data"
            words = [arguments.binary, "serve"]
            for one in [f"listeners=PLAINTEXT://127.0.0.1:{port}", f"log.dirs={data}/data", *arguments.override]:
                words += ["--override", one]
            server = Server("ottla", words, data, port)
            try:
                words = [program, port, producers, partitions, version, arguments.seconds]
                done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    raise RuntimeError(done.stderr.strip())
                result = json.loads(done.stdout)
            finally:
                server.stop()
            print(
                f"{what}, version {version}: {result['rate']:,} transactions/s; a transaction "
                f"{result['whole'][0] / 1000:.2f} ms (99 %: {result['whole'][1] / 1000:.2f}), its commit "
                f"{result['end'][0] / 1000:.2f} ms (99 %: {result['end'][1] / 1000:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
