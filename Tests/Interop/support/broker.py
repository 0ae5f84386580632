"""A broker process on a folder and a port of its own: start, stop, kill, look at."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

from . import wire

# What nobody wants to see in a log, whatever the test was about.
CRASH = re.compile(r"Fatal|crashed|Backtrace|Segmentation|AddressSanitizer|Illegal instruction")


def binary() -> str:
    """The broker under test: `script/build` prints its path."""
    path = os.environ.get("OTTLA_BINARY", "")
    if not os.access(path, os.X_OK):
        raise RuntimeError("OTTLA_BINARY must be the path of ottla: script/test interop sets it")
    return path


def environment(**more: str) -> dict[str, str]:
    """This environment without OTTLA_*: the broker would take our own variables for settings."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith("OTTLA_")}, **more}


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections, and not another worker's."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    low = 12000 + worker % 8 * 2500
    while True:
        port = random.randrange(low, low + 2500)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Broker:
    """`ottla serve` on 127.0.0.1; `overrides` are server.properties keys."""

    def __init__(self, folder: pathlib.Path, overrides: dict | None = None, port: int | None = None):
        self.folder = folder
        self.data = folder / "data"
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.overrides = {
            "listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": str(self.data),
            **(overrides or {}),
        }
        self.log_path = folder / "broker.log"
        # What starts it, such as a program that sets limits.
        self.prefix: list[str] = []
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------------------------ life

    def command(self) -> list[str]:
        words = [binary(), "serve"]
        for key, value in self.overrides.items():
            words += ["--override", f"{key}={value}"]
        return words

    def launch(self) -> float:
        """Starts it and does not wait; when that was, on the monotonic clock."""
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            # If pytest dies, so does the broker.
            words = ["setpriv", "--pdeathsig", "KILL", "--", *self.prefix, *self.command()]
            began = time.monotonic()
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment()
            )
        return began

    def start(self, timeout: float = 30) -> float:
        """Starts it and returns the seconds from exec to its first answer."""
        began = self.launch()
        while time.monotonic() - began < timeout:
            if self.process.poll() is not None:
                raise AssertionError(f"the broker ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with wire.Connection(self.port, timeout=timeout) as connection:
                    connection.api_versions()
                return time.monotonic() - began
            except OSError:
                time.sleep(0.002)
        raise AssertionError(f"the broker did not answer within {timeout} s:\n{self.tail()}")

    def stop(self, timeout: float = 30) -> None:
        """SIGTERM, which must end it with status 0."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"SIGTERM did not end the broker within {timeout} s:\n{self.tail()}") from None
        assert status == 0, f"after SIGTERM the broker ended with {status}:\n{self.tail()}"

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, how: str = "stop") -> float:
        """`how` is `stop` (SIGTERM) or `kill`."""
        getattr(self, how)()
        return self.start()

    # ------------------------------------------------------------------------------------ looks

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _status(self, name: str) -> float:
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) / 1024

    def resident_mb(self) -> float:
        return self._status("VmRSS")

    def peak_mb(self) -> float:
        return self._status("VmHWM")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def open_files(self) -> list[str]:
        folder = pathlib.Path(f"/proc/{self.pid}/fd")
        paths = []
        for one in folder.iterdir():
            with contextlib.suppress(OSError):
                paths.append(os.readlink(one))
        return paths

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def check(self) -> None:
        """It runs, and its log tells of no crash."""
        if self.process is not None:
            status = self.process.poll()
            assert status is None, f"the broker ended with {status}:\n{self.tail()}"
        found = CRASH.search(self.log())
        assert not found, f"'{found[0]}' in the broker's log:\n{self.tail()}"
