"""A broker for each test module, clients for it, and a look at the broker after every test."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import resource
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support.broker import Broker  # noqa: E402
from support.clients import CLIENTS  # noqa: E402

_numbers = itertools.count(1)

# Some tests hold a thousand connections.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_hard, 65536), _hard))

# Group tests should not wait for what is there for large clusters.
QUICK_GROUPS = {"group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 1000}


@pytest.fixture(scope="module")
def broker(tmp_path_factory, request):
    """One for the whole module; `BROKER_OVERRIDES` in the module adds settings."""
    overrides = {**QUICK_GROUPS, **getattr(request.module, "BROKER_OVERRIDES", {})}
    one = Broker(tmp_path_factory.mktemp(request.module.__name__), overrides)
    one.start()
    yield one
    try:
        one.check()
        one.stop()
    finally:
        one.kill()


@pytest.fixture
def make_broker(tmp_path):
    """Makes brokers for one test: make_broker(overrides, name=...). Not started yet."""
    made = []

    def make(overrides=None, name="broker", **more):
        one = Broker(tmp_path / name, {**QUICK_GROUPS, **(overrides or {})}, **more)
        made.append(one)
        return one

    yield make
    problems = []
    for one in made:
        try:
            one.check()
        except AssertionError as problem:
            problems.append(str(problem))
        one.kill()
    assert not problems, "\n".join(problems)


@pytest.fixture(autouse=True)
def _broker_survives(request):
    """Whatever a test does, the module's broker is still there afterwards."""
    yield
    if "broker" in request.fixturenames:
        request.getfixturevalue("broker").check()


@pytest.fixture(scope="module")
def clients(broker):
    """clients(name): that client library, against the module's broker."""
    made = {}

    def client(name):
        if name not in made:
            made[name] = CLIENTS[name](broker.address)
        return made[name]

    yield client
    for one in made.values():
        one.close()


@pytest.fixture
def topic(request):
    """A topic name of the test's own."""
    name = re.sub(r"[^a-z0-9.-]+", "-", request.node.name.lower()).strip("-")
    return f"{name[:80]}-{next(_numbers)}"


def pytest_collection_modifyitems(items):
    only = os.environ.get("OTTLA_TEST_CLIENTS")
    if only:
        names = only.split(",")
        items[:] = [
            one
            for one in items
            if "client" not in getattr(getattr(one, "callspec", None), "params", {})
            or one.callspec.params["client"] in names
        ]
