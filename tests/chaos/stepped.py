"""A daemon that dies, as by ``kill -9``, at a named step. It is the real one: its ports are wrapped from outside, in this process alone.

``CHAOS_DIE_AT=NAME:N`` in the environment: at the Nth time that the step ``NAME`` is reached; without it, it lives. The arguments are those of
``buttermilkd``. ``STEPS`` names all steps: a port's call, and whether before or after it.
"""

import asyncio
import functools
import inspect
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

VARIABLE = "CHAOS_DIE_AT"


@dataclass(frozen=True, slots=True)
class Port:
    """One call that the daemon makes: ``module:Class.method``, or a function of a module."""

    name: str
    module: str
    path: str
    when: tuple[str, ...] = ("before", "after")

    @property
    def steps(self) -> list[str]:
        return [f"{self.name}.{when}" for when in self.when]


LOCAL = (
    Port("commit", "buttermilkd.ledger.writer", "Writer._commit"),
    Port("recover", "buttermilkd.ledger.recovery", "recover"),
    Port("stage", "buttermilkd.ledger.creation", "stage"),
    Port("fill", "buttermilkd.ledger.creation", "fill"),
    Port("activate", "buttermilkd.ledger.ledger", "Ledger.create", ("after",)),
    Port("take", "buttermilkd.queues.local", "LocalQueue.take"),
    Port("start", "buttermilkd.runner.runner", "Runner.start"),
    Port("spawn", "buttermilkd.runner.launcher.spawner", "Spawner.spawn", ("after",)),
    Port("end", "buttermilkd.dispatcher", "Dispatcher._end"),
    Port("settle", "buttermilkd.queues.local", "LocalQueue.settle"),
    Port("begin cancel", "buttermilkd.ledger.ledger", "Ledger.begin_cancel"),
    Port("finish cancel", "buttermilkd.ledger.ledger", "Ledger.finish_cancel"),
    Port("requeue", "buttermilkd.ledger.ledger", "Ledger.requeue_batch"),
)
"""In the order in which a batch comes by them."""
SHARED = (
    Port("connect", "buttermilkd.queues.pubsub.google", "open_broker"),
    Port("prepare", "buttermilkd.queues.pubsub.resources", "ensure"),
    Port("make", "buttermilkd.queues.pubsub.resources", "_make"),
    Port("note loss", "buttermilkd.ledger.shared", "SharedLedger.note_loss"),
    Port("publish", "buttermilkd.queues.pubsub.adapter", "GoogleBroker.publish"),
    Port("announced", "buttermilkd.ledger.shared", "SharedLedger.announced"),
    Port("published", "buttermilkd.ledger.shared", "SharedLedger.published"),
    Port("pull", "buttermilkd.queues.pubsub.adapter", "GoogleBroker.pull"),
    Port("extend", "buttermilkd.queues.pubsub.adapter", "GoogleBroker.extend"),
    Port("claim", "buttermilkd.queues.pubsub.queue", "PubsubQueue.take"),
    Port("settle", "buttermilkd.queues.pubsub.queue", "PubsubQueue.settle"),
    Port("remove", "buttermilkd.ledger.shared", "SharedLedger.remove"),
    Port("acknowledge", "buttermilkd.queues.pubsub.adapter", "GoogleBroker.acknowledge"),
    Port("merge", "buttermilkd.ledger.shared", "SharedLedger.merge"),
)
"""Those that a queue at Pub/Sub adds."""


def steps_of(ports: Sequence[Port]) -> list[str]:
    return [step for port in ports for step in port.steps]


class Countdown:
    """Dies at the Nth time that its step is reached."""

    def __init__(self, step: str, left: int) -> None:
        self._step = step
        self._left = left

    def reach(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def wrapped(name: str, call: Callable[..., Any], reach: Callable[[str], None]) -> Callable[..., Any]:
    """The call, which reaches a step before and one after it has succeeded."""
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            reach(f"{name}.before")
            result = await call(*arguments, **named)
            reach(f"{name}.after")
            return result

        return awaited

    @functools.wraps(call)
    def called(*arguments: Any, **named: Any) -> Any:
        reach(f"{name}.before")
        result = call(*arguments, **named)
        if isinstance(result, asyncio.Future):  # what it promises is what counts
            result.add_done_callback(lambda _: reach(f"{name}.after"))
        else:
            reach(f"{name}.after")
        return result

    return called


def wrap(port: Port, reach: Callable[[str], None]) -> None:
    """Put the wrapper in the place of the call."""
    owner = import_module(port.module)
    *classes, last = port.path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    setattr(owner, last, wrapped(port.name, getattr(owner, last), reach))


def _wait(seconds: float) -> None:
    select.select([], [], [], seconds)


def keep_from_others() -> None:
    """The library that moves the clock is for this process alone. It breaks ``time.sleep`` where durations stay true."""
    if os.environ.pop("LD_PRELOAD", ""):
        time.sleep = _wait  # type: ignore[assignment]


def main() -> None:
    keep_from_others()
    wanted = os.environ.pop(VARIABLE, "")
    step, _, count = wanted.rpartition(":")
    if step:
        known = [port for port in (*LOCAL, *SHARED) if step in port.steps]
        if not known:
            sys.exit(f"no step is called {step!r}")
        countdown = Countdown(step, int(count))
        # Google's packages are imported only where the queue is at Pub/Sub, and with the environment that they need.
        is_shared = os.environ.get("PUBSUB_EMULATOR_HOST")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        for port in known:
            if port in LOCAL or is_shared:
                wrap(port, countdown.reach)
    from buttermilkd.__main__ import main as daemon  # noqa: PLC0415 - after the wrapping

    daemon()


if __name__ == "__main__":
    main()
