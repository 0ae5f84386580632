"""kcat, as Debian ships it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess

from .base import Client, ClientError, Record


def kcat(address: str, *arguments: str, stdin: bytes = b"", timeout: float = 30) -> bytes:
    done = subprocess.run(
        ["kcat", "-b", address, *arguments], input=stdin, capture_output=True, timeout=timeout, check=False
    )
    if done.returncode != 0:
        raise ClientError(done.stderr.decode(errors="replace"))
    return done.stdout


class Kcat(Client):
    name = "kcat"

    def _settings(self, config, **more) -> list[str]:
        words = []
        for key, value in {**more, **(config or {})}.items():
            words += ["-X", f"{key}={value}"]
        return words

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None):
        # What a run of kcat has in common: the partition and the headers.
        offsets = []
        for (partition, headers), run in itertools.groupby(
            records, key=lambda one: (one.partition, tuple((k, v) for k, v in one.headers))
        ):
            run = list(run)
            words = ["-P", "-t", topic, "-p", str(partition), "-z", codec, "-Z", "-K", "\t"]
            words += self._settings(config, acks=acks, **({"enable.idempotence": "true"} if idempotent else {}))
            for key, value in headers:
                words += ["-H", f"{key}={value.decode()}"]
            lines = b"".join((one.key or b"") + b"\t" + (one.value or b"") + b"\n" for one in run)
            kcat(self.address, *words, stdin=lines)
            offsets += [-1] * len(run)
        return offsets

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None):
        position = {"earliest": "beginning", "latest": "end"}.get(start, str(start))
        words = ["-C", "-t", topic, "-p", str(partition), "-o", position, "-c", str(count), "-J", "-e"]
        words += self._settings(config)
        try:
            out = kcat(self.address, *words, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            out = late.stdout or b""
        return [self._record(line) for line in out.splitlines()]

    @staticmethod
    def _record(line: bytes) -> Record:
        one = json.loads(line)
        names = one.get("headers", [])
        encoded = lambda text: None if text is None else text.encode()  # noqa: E731
        return Record(
            value=encoded(one["payload"]),
            key=encoded(one["key"]),
            headers=[(names[i], encoded(names[i + 1])) for i in range(0, len(names), 2)],
            timestamp=one["ts"],
            timestamp_type={"create": "create", "logappend": "append"}.get(one["tstype"], one["tstype"]),
            partition=one["partition"],
            offset=one["offset"],
        )

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None):
        words = ["-X", "auto.offset.reset=earliest", *self._settings(config), "-J", "-c", str(count), "-G", group, topic]
        return [self._record(line) for line in kcat(self.address, *words, timeout=timeout).splitlines()]

    def offsets(self, topic, partition=0):
        return self._query(topic, partition, -2), self._query(topic, partition, -1)

    def offset_for_time(self, topic, timestamp, partition=0):
        found = self._query(topic, partition, timestamp)
        return None if found < 0 else found

    def _query(self, topic, partition, timestamp) -> int:
        out = kcat(self.address, "-Q", "-t", f"{topic}:{partition}:{timestamp}").decode()
        return int(re.search(r"offset (-?\d+)", out)[1])

    def metadata(self) -> dict:
        return json.loads(kcat(self.address, "-L", "-J"))

    def topics(self):
        return {one["topic"] for one in self.metadata()["topics"]}

    def partitions(self, topic):
        return next(len(one["partitions"]) for one in self.metadata()["topics"] if one["topic"] == topic)
