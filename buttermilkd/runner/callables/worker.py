"""A child program that calls one flow's function for many jobs. Standard library only, Python 3.9 or later.

It is run by path under the flow's own interpreter, where this package need not be installed:

    worker.py DESCRIPTOR ENTRYPOINT DIRECTORY CONCURRENCY OUTPUT_LIMIT RESULT_LIMIT

Over the descriptor, a stream socket, travels one JSON object a line:

    daemon → worker   {"jobs": [{…}, …]} | {"recall": [id, …]} | {"cancel": [id, …]} | {"log": id}
    worker → daemon   {"ready": "sync" | "async"} | {"broken": {"cause", "error"}}
                      {"id", "ending", "seconds", "log", "turns", "result" | "cause", "error", "after"}
                      {"dropped": [id, …]}  (every recall and cancel is answered: which had not begun)
                      {"id", "printed": text}

A ``def`` is called for one job at a time on the main thread; of an ``async def``, ``CONCURRENCY`` calls go on at
once in one event loop. A second thread reads the socket.
"""

import asyncio
import contextvars
import faulthandler
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import queue
import socket
import sys
import threading
import time
import traceback
import types
from collections import deque
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Optional

ERROR_LIMIT = 16 * 1024
MOST_TURNS = 1000
"""Between standard output and standard error that are told apart in what one job prints."""
CAUSE_LIMIT = 200
RESULT = json.JSONEncoder(allow_nan=False)
"""One for all: ``json.dumps`` would make one for each result."""


class Printed:
    """What one job printed: the beginning and the end, at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._total = 0
        self._turns: List[int] = []
        """Where, in all that was printed, it went on in the other stream; it begins with standard output."""

    def write(self, text: str, errors: bool = False) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if errors is not bool(len(self._turns) % 2) and len(self._turns) < MOST_TURNS:
            self._turns.append(self._total)
        self._total += len(data)
        room = max(0, self._half - len(self._head))
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            self._cut()

    def _cut(self) -> None:
        excess = max(0, len(self._tail) - self._half)
        self._left_out += excess
        del self._tail[:excess]

    def text(self) -> str:
        return "".join(self.parts())

    def parts(self) -> List[str]:
        """It in turns: from standard output, from standard error, and so on; some may be empty."""
        if not self._total:
            return [""]
        self._cut()
        gap = b""
        if self._left_out:
            gap = f"\n… {self._left_out:,} bytes left out …\n".encode()
        kept = bytes(self._head + gap + self._tail)
        end_of_gap, missing = len(self._head) + len(gap), self._left_out - len(gap)
        turns = [turn if turn <= len(self._head) else max(end_of_gap, turn - missing) for turn in self._turns]
        ends = zip([0, *turns], [*turns, len(kept)])  # noqa: B905 - that is newer than Python 3.9
        return [kept[start:end].decode("utf-8", "replace") for start, end in ends]


current: "contextvars.ContextVar[Optional[Printed]]" = contextvars.ContextVar("current", default=None)


class AttributedStream(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr``: what a job prints goes to that job's own record."""

    def __init__(self, original: Any, errors: bool) -> None:
        self._original = original
        self._errors = errors

    def write(self, text: str) -> int:
        printed = current.get()
        if printed is None:
            self._original.write(text)
            self._original.flush()
        else:
            printed.write(text, self._errors)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._original.flush()

    def fileno(self) -> int:
        return int(self._original.fileno())

    @property
    def buffer(self) -> Any:
        return self._original.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


class FlowsFinder:
    """Provides ``buttermilkd.flows`` where the package is not installed. Asked after every other finder."""

    def __init__(self, file: str) -> None:
        self._file = file

    def find_spec(
        self,
        name: str,
        path: object = None,  # noqa: ARG002 - the import system's signature
        target: object = None,  # noqa: ARG002
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name == "buttermilkd":
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
        if name == "buttermilkd.flows":
            return importlib.util.spec_from_file_location(name, self._file)
        return None


def first_line(error: BaseException) -> str:
    """``TypeName: first line``, short enough to group by."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the failure itself
        lines = ["(its text cannot be shown)"]
    name = type(error).__name__
    return (f"{name}: {lines[0]}" if lines else name)[:CAUSE_LIMIT]


def failure(error: BaseException) -> Dict[str, Any]:
    """The part of an answer that says what an exception means."""
    flows = sys.modules.get("buttermilkd.flows")
    cause = first_line(error)
    if flows is not None and isinstance(error, flows.Retry):
        after = getattr(error, "after", None)
        after = float(after) if isinstance(after, (int, float)) else None
        return {"ending": "deferred", "cause": cause, "error": str(error), "after": after}
    if flows is not None and isinstance(error, flows.Reject):
        return {"ending": "rejected", "cause": cause, "error": str(error)}
    # The first frame is this file's own.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - as above
        text = cause
    return {"ending": "failed", "cause": cause, "error": text[-ERROR_LIMIT:]}


class Worker:
    """What both kinds of callables share: jobs in order, recalls, answers."""

    def __init__(self, channel: socket.socket, call: Callable[[Any], Any], output: int, result: int) -> None:
        self._channel = channel
        self._call = call
        self._output_limit = output
        self._result_limit = result
        self._sending = threading.Lock()
        self._pending: Dict[str, Dict[str, Any]] = {}
        """Not begun. Whoever pops a job decides: the caller begins it, the reader drops it."""
        self._printed: Dict[str, Printed] = {}

    def send(self, message: Dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._channel.sendall(line)

    def read(self) -> None:
        """Take in lines until the daemon closes the socket. Runs in a thread of its own."""
        try:
            with self._channel.makefile("rb") as lines:
                for line in lines:
                    self._heard(json.loads(line))
        except OSError:
            pass  # the daemon is gone, which ends this worker as well
        self.finish()

    def _heard(self, message: Dict[str, Any]) -> None:
        if "jobs" in message:
            for job in message["jobs"]:
                self._pending[job["job_id"]] = job
            self.hand([job["job_id"] for job in message["jobs"]])
        elif "log" in message:
            printed = self._printed.get(message["log"])
            self.send({"id": message["log"], "printed": printed.text() if printed else ""})
        else:
            asked = message.get("recall") or message.get("cancel") or []
            dropped = [job_id for job_id in asked if self._pending.pop(job_id, None) is not None]
            if "cancel" in message:
                self.cancel([job_id for job_id in asked if job_id not in dropped])
            self.send({"dropped": dropped})

    def answer(self, job_id: str, seconds: float, end: Dict[str, Any]) -> None:
        parts = self._printed.pop(job_id).parts()
        message: Dict[str, Any] = {"id": job_id, "seconds": seconds, "log": "".join(parts)}
        if len(parts) > 1:
            message["turns"] = [len(part) for part in parts]
        message.update(end)
        self.send(message)

    def completed(self, value: Any) -> Dict[str, Any]:
        try:
            text = RESULT.encode(value)
        except Exception as error:  # noqa: BLE001 - user objects may raise anything
            reason = f"result cannot be JSON: {error}"
            return {"ending": "failed", "cause": reason[:CAUSE_LIMIT], "error": reason[:ERROR_LIMIT]}
        if len(text) > self._result_limit:
            reason = f"the result is over {self._result_limit:,} bytes"
            return {"ending": "failed", "cause": reason, "error": reason}
        return {"ending": "completed", "result": text}

    def begin(self, job_id: str) -> Any:
        """The job, or None where it has been dropped."""
        fields = self._pending.pop(job_id, None)
        if fields is None:
            return None
        printed = self._printed[job_id] = Printed(self._output_limit)
        current.set(printed)
        return types.SimpleNamespace(**fields)

    def hand(self, job_ids: List[str]) -> None:
        raise NotImplementedError

    def cancel(self, job_ids: List[str]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def serve(self) -> None:
        raise NotImplementedError


class SyncWorker(Worker):
    """One call at a time, on the main thread."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._queue: "queue.SimpleQueue[Optional[str]]" = queue.SimpleQueue()

    def hand(self, job_ids: List[str]) -> None:
        for job_id in job_ids:
            self._queue.put(job_id)

    def cancel(self, job_ids: List[str]) -> None:
        """A call on the main thread cannot be interrupted: the daemon ends the whole worker."""

    def finish(self) -> None:
        self._queue.put(None)

    def serve(self) -> None:
        while True:
            job_id = self._queue.get()
            if job_id is None:
                return
            job = self.begin(job_id)
            if job is None:
                continue
            began = time.perf_counter()
            try:
                end = self.completed(self._call(job))
            except BaseException as error:  # noqa: BLE001 - even SystemExit fails only its own attempt
                end = failure(error)
            current.set(None)
            self.answer(job_id, time.perf_counter() - began, end)


class AsyncWorker(Worker):
    """Several calls at once, in one event loop on the main thread."""

    def __init__(self, *arguments: Any, concurrency: int) -> None:
        super().__init__(*arguments)
        self._concurrency = concurrency
        self._queue: Deque[str] = deque()
        self._tasks: Dict[str, "asyncio.Task[None]"] = {}
        self._cancelled: Dict[str, bool] = {}

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        threading.Thread(target=self.read, daemon=True).start()
        await self._finished.wait()

    def hand(self, job_ids: List[str]) -> None:
        self._loop.call_soon_threadsafe(self._begin_more, job_ids)

    def cancel(self, job_ids: List[str]) -> None:
        self._loop.call_soon_threadsafe(self._cancel, job_ids)

    def finish(self) -> None:
        self._loop.call_soon_threadsafe(self._finished.set)

    def _begin_more(self, job_ids: List[str]) -> None:
        self._queue.extend(job_ids)
        while self._queue and len(self._tasks) < self._concurrency:
            job_id = self._queue.popleft()
            if job_id in self._pending:
                self._tasks[job_id] = self._loop.create_task(self._run(job_id))

    def _cancel(self, job_ids: List[str]) -> None:
        for job_id in job_ids:
            if job_id in self._tasks:
                self._cancelled[job_id] = True
                self._tasks[job_id].cancel()

    async def _run(self, job_id: str) -> None:
        job = self.begin(job_id)
        if job is not None:
            began = time.perf_counter()
            try:
                end = self.completed(await self._call(job))
            except BaseException as error:  # noqa: BLE001 - even SystemExit fails only its own attempt
                end = {"ending": "cancelled"} if job_id in self._cancelled else failure(error)
            self.answer(job_id, time.perf_counter() - began, end)
        self._cancelled.pop(job_id, None)
        del self._tasks[job_id]
        self._begin_more([])


def find(entrypoint: str) -> Callable[[Any], Any]:
    """The object that ``package.module:name`` means."""
    module, _, names = entrypoint.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{entrypoint} is not callable")
    return found  # type: ignore[no-any-return]


def is_async(call: Callable[[Any], Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def main() -> None:
    descriptor, entrypoint, directory, concurrency, output_limit, result_limit = sys.argv[1:]
    faulthandler.enable()
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    sys.stdout = AttributedStream(sys.stdout, errors=False)
    sys.stderr = AttributedStream(sys.stderr, errors=True)
    flows = Path(__file__).resolve().parents[2] / "flows.py"
    sys.path[0] = directory  # in place of this file's own folder, whose modules are not for flows
    sys.argv = [entrypoint]
    sys.meta_path.append(FlowsFinder(str(flows)))
    limits = (int(output_limit), int(result_limit))
    try:
        call = find(entrypoint)
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit included
        broken = failure(error)
        channel.sendall(json.dumps({"broken": broken}).encode() + b"\n")
        return
    worker: Worker
    if is_async(call):
        worker = AsyncWorker(channel, call, *limits, concurrency=int(concurrency))
        worker.send({"ready": "async"})
    else:
        worker = SyncWorker(channel, call, *limits)
        worker.send({"ready": "sync"})
        threading.Thread(target=worker.read, daemon=True).start()
    worker.serve()


if __name__ == "__main__":
    main()
