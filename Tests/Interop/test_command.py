"""The command line: what it says, and with which status it ends."""

import contextlib
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from support import wire
from support.broker import binary, environment, free_port
from support.clients import CLIENTS, Record


def run(*words, env=None, cwd=None, timeout=20, prefix=()) -> subprocess.CompletedProcess:
    """Runs it to its end."""
    return subprocess.run(
        [*prefix, binary(), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**(env or {})),
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def serve(folder, *words, port=None, **more):
    port = port or free_port()
    return run(
        "serve", "--override", f"listeners=PLAINTEXT://127.0.0.1:{port}", "--override", f"log.dirs={folder}", *words, **more
    )


def override(**keys):
    words = []
    for key, value in keys.items():
        words += ["--override", f"{key.replace('_', '.')}={value}"]
    return words


def test_version_and_help():
    done = run("--version")
    assert done.returncode == 0
    assert re.search(r"\d+\.\d+", done.stdout)
    done = run("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    done = run("serve", "--help")
    assert done.returncode == 0
    for word in ("--override", "--log-level", "server.properties"):
        assert word in done.stdout
    assert run("no-such-command").returncode not in (0, 1)


def test_the_ready_line(make_broker):
    broker = make_broker()
    broker.start()
    end = time.monotonic() + 2
    while "ready" not in broker.log() and time.monotonic() < end:
        time.sleep(0.01)
    (line,) = [line for line in broker.log().splitlines() if "ready" in line]
    assert f"127.0.0.1:{broker.port}" in line
    assert str(broker.data) in line
    assert re.search(r"\d+ ms", line)
    broker.stop()


def test_the_ready_line_tells_the_port_that_was_chosen(tmp_path):
    words = [binary(), "serve", *override(listeners="PLAINTEXT://127.0.0.1:0"), "--override", f"log.dirs={tmp_path}/d"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment())
    try:
        for line in process.stderr:
            if found := re.search(r"ready on 127\.0\.0\.1:(\d+)", line):
                break
        port = int(found[1])
        assert port > 0
        CLIENTS["confluent-kafka"](f"127.0.0.1:{port}").produce("t", [Record(value=b"x")])
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(make_broker, how):
    broker = make_broker()
    broker.start()
    CLIENTS["confluent-kafka"](broker.address).produce("t", [Record(value=b"x")])
    with wire.Connection(broker.port) as idle:
        idle.api_versions()
        began = time.monotonic()
        broker.process.send_signal(how)
        assert broker.process.wait(20) == 0
        assert time.monotonic() - began < 5, "a connected client holds it up"
    broker.process = None
    assert (broker.data / ".kafka_cleanshutdown").exists()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("log.retention.hour", "log.retention.hours"), ("num.partition", "num.partitions"), ("log.dir.s", "log.dirs")],
)
def test_an_unknown_key_is_a_warning_that_names_the_nearest(make_broker, wrong, right):
    broker = make_broker({wrong: "1"})
    broker.start()
    (line,) = [line for line in broker.log().splitlines() if wrong in line and "warn" in line.lower()]
    assert re.search(rf"\b{re.escape(right)}\b", line.replace(wrong, "", 1)), line
    broker.stop()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num.partitions", "many"),
        ("num.partitions", "0"),
        ("log.retention.hours", "1.5"),
        ("auto.create.topics.enable", "perhaps"),
        ("log.cleanup.policy", "wipe"),
        ("listeners", "localhost"),
        ("listeners", "PLAINTEXT://127.0.0.1:99999"),
        ("compression.type", "rar"),
        ("socket.request.max.bytes", "-1"),
    ],
)
def test_a_bad_value_is_status_2(tmp_path, key, value):
    done = run("serve", "--override", f"log.dirs={tmp_path}/data", "--override", f"{key}={value}")
    assert done.returncode == 2, done.stderr
    assert key in done.stderr
    assert value in done.stderr
    assert not (tmp_path / "data").exists(), "it did something before it looked"


def test_an_override_without_a_value_is_status_2(tmp_path):
    done = run("serve", "--override", "num.partitions", cwd=tmp_path)
    assert done.returncode not in (0, 1)
    assert not (tmp_path / "ottla-data").exists()


def test_a_file_with_a_bad_line_names_it(tmp_path):
    file = tmp_path / "server.properties"
    file.write_text(f"# a comment\nlog.dirs={tmp_path}/data\nnum.partitions = x\n")
    done = run("serve", file)
    assert done.returncode == 2
    assert "num.partitions" in done.stderr
    done = run("serve", tmp_path / "absent.properties")
    assert done.returncode != 0
    assert "absent.properties" in done.stderr


def test_kafkas_own_file_is_understood(make_broker, tmp_path):
    """What Kafka 4.3 ships as config/server.properties, with our port and folder."""
    broker = make_broker()
    file = tmp_path / "server.properties"
    file.write_text(
        f"""
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{free_port()}
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs={broker.data}
num.partitions=7
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
"""
    )
    process = subprocess.Popen([binary(), "serve", file], stderr=open(broker.log_path, "w"), stdin=subprocess.DEVNULL, env=environment())
    broker.process = process
    one = CLIENTS["confluent-kafka"](broker.address)
    one.produce("t", [Record(value=b"x")])
    assert one.partitions("t") == 7
    assert len(one.subscribe("t", "g", 1)) == 1
    # More replicas than brokers: as many as there are, and a warning.
    assert any("offsets.topic.replication.factor" in line for line in broker.log().splitlines())
    broker.stop()


def test_environment_variables(tmp_path):
    """As in Kafka's container image, with our prefix; --override wins."""
    broker_port = free_port()
    settings = environment(
        OTTLA_LISTENERS=f"PLAINTEXT://127.0.0.1:{broker_port}",
        OTTLA_LOG_DIRS=str(tmp_path / "data"),
        OTTLA_NUM_PARTITIONS="5",
    )
    process = subprocess.Popen(
        [binary(), "serve", *override(num_partitions=4)], env=settings, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        one = CLIENTS["confluent-kafka"](f"127.0.0.1:{broker_port}")
        one.produce("t", [Record(value=b"x")])
        assert one.partitions("t") == 4
        assert (tmp_path / "data" / "t-3").is_dir()
        assert not (tmp_path / "ottla-data").exists()
    finally:
        process.terminate()
        assert process.wait(20) == 0


# ------------------------------------------------------------------------------ the data folder


def untouched(folder: pathlib.Path):
    return {
        str(one.relative_to(folder)): one.read_bytes() if one.is_file() else None for one in sorted(folder.rglob("*"))
    }


def refused(folder, *words, **more) -> str:
    """Status 1, a line that names the folder, and nothing changed in it."""
    before = untouched(folder) if folder.is_dir() else None
    done = serve(folder, *words, **more)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if str(folder) in line]
    assert lines, done.stderr
    if before is not None:
        assert untouched(folder) == before
    return lines[-1]


def test_a_folder_in_use(make_broker):
    broker = make_broker()
    broker.start()
    before = {one for one in untouched(broker.data)}
    done = serve(broker.data)
    assert done.returncode == 1, done.stderr
    assert str(broker.data) in done.stderr
    assert re.search(r"in use|another process|locked", done.stderr), done.stderr
    assert {one for one in untouched(broker.data)} == before
    CLIENTS["confluent-kafka"](broker.address).produce("t", [Record(value=b"x")])
    broker.stop()


def test_a_port_in_use(make_broker, tmp_path):
    broker = make_broker()
    broker.start()
    done = serve(tmp_path / "other", port=broker.port)
    assert done.returncode == 1
    assert str(broker.port) in done.stderr
    broker.stop()


def test_a_folder_of_another_cluster(tmp_path, make_broker):
    broker = make_broker()
    broker.start()
    broker.stop()
    meta = broker.data / "meta.properties"
    # The same folder, as if it had been copied to where another cluster's metadata is.
    text = re.sub(r"cluster\.id=.*", "cluster.id=AAAAAAAAAAAAAAAAAAAAAA", meta.read_text())
    meta.write_text(text)
    line = refused(broker.data)
    assert "AAAAAAAAAAAAAAAAAAAAAA" in line


def test_a_folder_of_another_node(make_broker):
    broker = make_broker()
    broker.start()
    broker.stop()
    line = refused(broker.data, "--override", "node.id=77")
    assert "77" in line


def test_a_folder_that_is_not_writable(tmp_path, make_broker):
    """New, and one that was in use before; as root with root's rights over files taken away."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o500)
    prefix = []
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "--"]
    refused(folder, prefix=prefix)
    broker = make_broker()
    broker.start()
    CLIENTS["confluent-kafka"](broker.address).produce("t", [Record(value=b"x")])
    broker.stop()
    broker.data.chmod(0o500)
    refused(broker.data, prefix=prefix)
    broker.data.chmod(0o700)
    broker.start()
    broker.stop()


def metadata(broker, statement, how):
    """Changes the metadata file of a broker that does not run, and then closes it, or is killed."""
    code = f"""
import os, sqlite3
database = sqlite3.connect({str(broker.data / "ottla-metadata.sqlite")!r})
database.execute({statement!r})
database.commit()
if {how == "kill"}: os._exit(0)
database.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (broker.data / "ottla-metadata.sqlite-shm").unlink(missing_ok=True)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_newer_metadata(make_broker, how):
    """Of a later Ottla: left as it is, also after a kill, when some of it is in the write-ahead log only."""
    broker = make_broker()
    broker.start()
    CLIENTS["confluent-kafka"](broker.address).produce("t", [Record(value=b"x")])
    getattr(broker, how)()
    metadata(broker, "PRAGMA user_version = 99", how)
    assert (broker.data / "ottla-metadata.sqlite-wal").exists() == (how == "kill")
    line = refused(broker.data)
    assert "99" in line and "ottla-metadata.sqlite" in line
    metadata(broker, "PRAGMA user_version = 2", how)
    broker.start()
    assert "t" in CLIENTS["confluent-kafka"](broker.address).topics()
    broker.stop()


def test_metadata_that_is_damaged(make_broker):
    broker = make_broker()
    broker.start()
    broker.stop()
    path = broker.data / "ottla-metadata.sqlite"
    path.write_bytes(b"garbage" * 1000)
    assert "ottla-metadata.sqlite" in refused(broker.data)
    # A database of another program.
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (x)")
        database.commit()
    assert "another program" in refused(broker.data)


def test_a_cluster_id_that_is_not_the_folders(make_broker):
    broker = make_broker()
    broker.start()
    broker.stop()
    line = refused(broker.data, env={"CLUSTER_ID": "BBBBBBBBBBBBBBBBBBBBBA"})
    assert "BBBBBBBBBBBBBBBBBBBBBA" in line


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refused(tmp_path / "file")
    assert "file" in line
    refused(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_of_a_kafka(tmp_path):
    """What is no metadata log, or a damaged one, is refused, and the folder left alone (see test_kafka_folders.py)."""
    folder = tmp_path / "kafka"
    (folder / "__cluster_metadata-0").mkdir(parents=True)
    (folder / "__cluster_metadata-0" / "00000000000000000000.log").write_bytes(b"\0" * 100)
    (folder / "meta.properties").write_text(
        "#\nversion=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\ndirectory.id=RLAe_8UaUFDUcT-ycQCWcA\n"
    )
    (folder / "bootstrap.checkpoint").write_bytes(b"\0" * 50)
    refused(folder)


def test_another_version_of_meta_properties(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "meta.properties").write_text("version=9\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n")
    refused(folder)
