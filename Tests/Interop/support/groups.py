"""Runs members of a group as processes and checks what they say they saw."""

from __future__ import annotations

import collections
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

from .clients import Client, Record

HERE = pathlib.Path(__file__).parents[1]


class Member:
    def __init__(self, name: str, words: list[str]):
        self.name = name
        self.output = tempfile.TemporaryFile("w+")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.errors, cwd=HERE, text=True
        )

    def lines(self) -> list[list[str]]:
        # A file of its own position: the process appends to the same open file.
        text = pathlib.Path(f"/proc/self/fd/{self.output.fileno()}").read_text()
        whole = text[: text.rfind("\n") + 1]
        return [line.split() for line in whole.splitlines()]

    def assignment(self) -> set[int]:
        for words in reversed(self.lines()):
            if words[0] == "assigned":
                return {int(one) for one in words[2].split(",")} if len(words) > 2 else set()
            if words[0] == "end":
                return set()
        return set()

    def leave(self) -> None:
        """SIGTERM: it says good-bye to the group."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def die(self) -> None:
        """kill -9: it says nothing."""
        self.process.kill()
        self.process.wait()

    def trouble(self) -> str:
        return pathlib.Path(f"/proc/self/fd/{self.errors.fileno()}").read_text()[-2000:]


class Group:
    def __init__(self, client: Client, group: str, topic: str, partitions: int, config: dict):
        self.client, self.group, self.topic, self.partitions, self.config = client, group, topic, partitions, config
        self.members: list[Member] = []
        self.running: list[Member] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.running:
            one.die()

    def join(self) -> Member:
        member = Member(
            f"member {len(self.members)}", self.client.member_command(self.group, self.topic, **self.config)
        )
        self.members.append(member)
        self.running.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.running.remove(member)
        member.leave()

    def die(self, member: Member) -> None:
        self.running.remove(member)
        member.die()

    def settle(self, sizes: list[int], seconds: float) -> None:
        """Waits until the running members hold all partitions, so many each."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            held = [one.assignment() for one in self.running]
            if sorted(map(len, held)) == sorted(sizes) and set().union(*held) == set(range(self.partitions)):
                return
            gone = [one for one in self.running if one.process.poll() is not None]
            assert not gone, f"a member ended by itself: {gone[0].trouble()}"
            time.sleep(0.05)
        told = "\n".join(f"{one.name}: {sorted(one.assignment())} {one.trouble()}" for one in self.running)
        raise AssertionError(f"the group did not settle on {sizes} within {seconds} s:\n{told}")

    def events(self) -> list[tuple[int, Member, list[str]]]:
        found = []
        for member in self.members:
            found += [(int(words[1]), member, words) for words in member.lines() if len(words) > 1]
        return sorted(found, key=lambda one: one[0])

    def seen(self) -> dict[int, set[int]]:
        found = collections.defaultdict(set)
        for _, _, words in self.events():
            if words[0] == "got":
                found[int(words[2])].add(int(words[3]))
        return found

    def catch_up(self, produced: dict[int, int], seconds: float) -> None:
        """Waits until somebody has seen each record, or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = self.seen()
            if all(len(seen[partition]) == count for partition, count in produced.items()):
                return
            time.sleep(0.1)

    def check(self, produced: dict[int, int]) -> None:
        """Nobody missed a record, and nobody got one whose offset had been committed before.

        `produced` is how many records each partition holds; the value of each is its offset.
        """
        committed: dict[int, int] = collections.defaultdict(int)
        got: dict[int, set[int]] = collections.defaultdict(set)
        for at, member, words in self.events():
            if words[0] == "got":
                partition, offset, value = int(words[2]), int(words[3]), int(words[4])
                assert value == offset, f"{member.name} read {value} at offset {offset} of partition {partition}"
                assert offset >= committed[partition], (
                    f"{member.name} got offset {offset} of partition {partition} at {at}, "
                    f"where {committed[partition]} was committed before"
                )
                got[partition].add(offset)
            elif words[0] == "committed":
                partition, following = int(words[2]), int(words[3])
                assert following >= committed[partition], f"a commit of partition {partition} went back"
                committed[partition] = following
        for partition, count in produced.items():
            missed = set(range(count)) - got[partition]
            assert not missed, f"nobody got {sorted(missed)[:10]} of partition {partition} ({len(missed)} in all)"
            assert committed[partition] == count, f"partition {partition}: {committed[partition]} of {count} committed"


class Source:
    """Produces all the time; the value of a record is its offset."""

    def __init__(self, client: Client, topic: str, partitions: int, pause: float = 0.05):
        self.client, self.topic, self.partitions, self.pause = client, topic, partitions, pause
        self.counts = dict.fromkeys(range(partitions), 0)
        self.stopping = threading.Event()
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.client.address, "enable.idempotence": True, "linger.ms": 5})

        def delivered(error, message):
            if error:
                self.failure = Exception(str(error))

        while not self.stopping.wait(self.pause):
            for partition in range(self.partitions):
                producer.produce(
                    self.topic, str(self.counts[partition]).encode(), partition=partition, on_delivery=delivered
                )
                self.counts[partition] += 1
            producer.poll(0)
        producer.flush(30)

    def stop(self) -> dict[int, int]:
        self.stopping.set()
        self.thread.join(40)
        assert self.failure is None, str(self.failure)
        return self.counts


__all__ = ["Group", "Member", "Record", "Source"]
