"""A client that does nothing wrong, beside those that do: it must not notice them."""

import contextlib
import threading
import time

from support import wire


@contextlib.contextmanager
def at_work(broker, turns, worst):
    """Works all the time; nothing that it asks may fail, or take longer than `worst` seconds.

    `turns` makes a generator of a connection: up to the first yield it prepares, then each turn is up to the next one.
    """
    stop, delays, failures = threading.Event(), [], []

    def work():
        try:
            with wire.Connection(broker.port, timeout=20) as connection:
                turn = turns(connection)
                next(turn)
                while not stop.is_set():
                    began = time.monotonic()
                    next(turn)
                    delays.append(time.monotonic() - began)
                    time.sleep(0.005)
        except Exception as problem:  # noqa: BLE001
            failures.append(repr(problem))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
        deadline = time.monotonic() + 10
        while len(delays) < 20 and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join(30)
    assert not failures, failures
    assert len(delays) >= 20
    assert max(delays) < worst, f"the slowest of {len(delays)} took {max(delays):.2f} s"
