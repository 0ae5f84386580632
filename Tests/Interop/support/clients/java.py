"""Kafka's own Java client, through java/OttlaClient.java, which is compiled once."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import pathlib
import select
import subprocess
import tempfile
import urllib.parse

from .base import Client, ClientError, Record, letters

SOURCE = pathlib.Path(__file__).parents[2] / "java" / "OttlaClient.java"
ROOT = pathlib.Path(__file__).parents[4]


def class_path() -> str:
    """Kafka's jars and our compiled class; compiles it when its source is new."""
    jars = pathlib.Path(os.environ.get("OTTLA_JAVA_LIBRARIES", ROOT / ".cache" / "java"))
    classes = ROOT / ".cache" / "java-classes" / hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    classes.parent.mkdir(parents=True, exist_ok=True)
    with open(classes.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not classes.exists():
            with tempfile.TemporaryDirectory(dir=classes.parent) as fresh:
                subprocess.run(["javac", "-d", fresh, "-cp", f"{jars}/*", str(SOURCE)], check=True)
                pathlib.Path(fresh).rename(classes)
                pathlib.Path(fresh).mkdir()
    return f"{jars}/*:{classes}"


def command(*arguments: str) -> list[str]:
    # A small machine, short lives: the quick compiler and the plain collector start faster.
    words = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    words += [f"-Djava.io.tmpdir={tempfile.gettempdir()}", "-Dslf4j.internal.verbosity=ERROR"]
    return [*words, "-cp", class_path(), "OttlaClient", *arguments]


def _bytes(text: str) -> bytes | None:
    return None if text == "-" else base64.b64decode(text)


def _text(value: bytes | None) -> str:
    return "-" if value is None else base64.b64encode(value).decode()


class Java(Client):
    name = "java"

    def __init__(self, address):
        super().__init__(address)
        self.process = None

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _send(self, verb, fields) -> None:
        if self.process is None:
            self.process = subprocess.Popen(
                command("drive", self.address),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        words = [verb] + [f"{key}={urllib.parse.quote_plus(str(value))}" for key, value in fields.items()]
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()

    def _answer(self, limit) -> list[list[str]]:
        rows = []
        while True:
            # A line at a time: what is buffered already does not show in select.
            if not rows and not select.select([self.process.stdout], [], [], limit)[0]:
                self.process.kill()
                self.process.wait()
                self.process = None
                raise ClientError(f"the Java client said nothing for {limit} s")
            line = self.process.stdout.readline()
            if not line:
                raise ClientError("the Java client died")
            kind, *fields = line.rstrip("\n").split("\t")
            if kind == "row":
                rows.append(fields)
            elif kind == "ok":
                return rows
            else:
                raise ClientError(f"{fields[0]}: {urllib.parse.unquote_plus(fields[1])}")

    def ask(self, verb, limit=90.0, config=None, **fields) -> list[list[str]]:
        self._send(verb, {**fields, **{f"conf.{key}": value for key, value in (config or {}).items()}})
        return self._answer(limit)

    # -------------------------------------------------------------------------------- data

    def produce(self, topic, records, *, codec="none", acks="all", idempotent=False, config=None):
        for one in records:
            fields = {"partition": one.partition, "key": _text(one.key), "value": _text(one.value)}
            if one.timestamp is not None:
                fields["timestamp"] = one.timestamp
            if one.headers:
                fields["headers"] = ",".join(f"{_text(k.encode())}:{_text(v)}" for k, v in one.headers)
            self.ask("record", **fields)
        settings = {
            "acks": acks,
            "compression.type": codec,
            "enable.idempotence": str(idempotent).lower(),
            **(config or {}),
        }
        return [int(row[1]) for row in self.ask("produce", topic=topic, config=settings)]

    @staticmethod
    def _record(row) -> Record:
        partition, offset, timestamp, kind, key, value, headers = row
        pairs = [one.split(":") for one in headers.split(",")] if headers else []
        return Record(
            value=_bytes(value),
            key=_bytes(key),
            headers=[(_bytes(name).decode(), _bytes(content)) for name, content in pairs],
            timestamp=int(timestamp),
            timestamp_type={"CreateTime": "create", "LogAppendTime": "append"}.get(kind, "none"),
            partition=int(partition),
            offset=int(offset),
        )

    def consume(self, topic, count, *, partition=0, start="earliest", timeout=20.0, config=None):
        fields = {"topic": topic, "count": count, "partition": partition, "start": start, "timeout": timeout}
        return [self._record(row) for row in self.ask("consume", timeout + 60, config, **fields)]

    def subscribe(self, topic, group, count, *, timeout=20.0, config=None):
        settings = {"group.id": group, **(config or {})}
        rows = self.ask("subscribe", timeout + 60, settings, topic=topic, count=count, timeout=timeout)
        return [self._record(row) for row in rows]

    def offsets(self, topic, partition=0):
        ((first, last),) = self.ask("offsets", topic=topic, partition=partition)
        return int(first), int(last)

    def offset_for_time(self, topic, timestamp, partition=0):
        ((found,),) = self.ask("time", topic=topic, partition=partition, timestamp=timestamp)
        return None if found == "-" else int(found)

    def special_offsets(self, topic, partition=0) -> dict[str, int]:
        return {name: int(offset) for name, offset, _ in self.ask("specials", topic=topic, partition=partition)}

    def transaction(self, topic):
        self.ask("transaction", topic=topic, config={"transactional.id": "a transaction"})

    def share(self, topic, group, timeout):
        """Polls as a share consumer."""
        self.ask("share", timeout + 60, {"group.id": group}, topic=topic, timeout=timeout)

    # ------------------------------------------------------------------------------- admin

    def create_topic(self, topic, partitions=1, configs=None):
        self.ask("create", topic=topic, partitions=partitions, config=configs)

    def delete_records(self, topic, offset, partition=0):
        return int(self.ask("delete-records", topic=topic, partition=partition, offset=offset)[0][0])

    def log_dirs(self) -> dict[str, dict]:
        """By folder: `error`, `total`, `usable`, and `replicas`: (topic, partition) to size, lag and is-future."""
        folders = {}
        for row in self.ask("log-dirs"):
            if row[0] == "folder":
                folder = {"error": row[2], "total": int(row[3]), "usable": int(row[4]), "replicas": {}}
                folders[row[1]] = folder
            else:
                replica = (int(row[4]), int(row[5]), row[6] == "true")
                folders[row[1]]["replicas"].setdefault((row[2], int(row[3])), []).append(replica)
        return folders

    def move(self, topic, folder, partition=0):
        """Moves the partition's replica to another folder of the broker."""
        self.ask("move", topic=topic, partition=partition, folder=folder)

    def delete_topic(self, topic):
        self.ask("delete", topic=topic)

    def topics(self):
        return {row[0] for row in self.ask("topics")}

    def partitions(self, topic):
        return int(self.ask("partitions", topic=topic)[0][0])

    def add_partitions(self, topic, total):
        self.ask("grow", topic=topic, partitions=total)

    def topic_configs(self, topic):
        return {row[0]: urllib.parse.unquote_plus(row[1]) for row in self.ask("configs", topic=topic)}

    def set_topic_configs(self, topic, configs):
        self.ask("configure", topic=topic, config=configs)

    def unset_topic_config(self, topic, name):
        self.ask("configure", topic=topic, unset=name)

    def config_resources(self) -> set[str]:
        return {row[0] for row in self.ask("resources")}

    def cluster(self) -> tuple[str, int, int]:
        ((cluster_id, nodes, controller),) = self.ask("cluster")
        return cluster_id, int(nodes), int(controller)

    def groups(self):
        return {row[0] for row in self.ask("groups")}

    def group(self, group):
        ((state, members),) = self.ask("group", group=group)
        return letters(state), int(members)

    def delete_group(self, group):
        self.ask("delete-group", group=group)

    def remove_member(self, group, instance):
        """As an administrator removes a static member."""
        self.ask("remove-member", group=group, instance=instance)

    def delete_offsets(self, group, topic, partition=0):
        self.ask("delete-offsets", group=group, topic=topic, partition=partition)

    def commit(self, group, topic, offset, partition=0):
        self.ask("commit", topic=topic, partition=partition, offset=offset, config={"group.id": group})

    def committed(self, group, topic, partition=0):
        ((offset, _),) = self.ask("committed", group=group, topic=topic, partition=partition)
        return None if offset == "-" else int(offset)

    def member_command(self, group, topic, **config):
        return command("member", self.address, group, topic, *[f"{k}={v}" for k, v in config.items()])
