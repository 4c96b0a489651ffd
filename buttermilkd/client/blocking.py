"""The client that blocks."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, environ, urandom
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

from buttermilkd.client.creation import Created, create_body
from buttermilkd.client.transport import Body, NoAnswerError, Transport, chunks, document, lines
from buttermilkd.config.locate import control_socket
from buttermilkd.errors import InvalidRequestError, NotRunningError
from buttermilkd.messages import (
    LEDGER,
    NDJSON,
    BatchesView,
    BatchView,
    CreateBatch,
    DeadLettersView,
    DeadLetterView,
    DeadOutcomesView,
    EventView,
    FlowsView,
    HistoryView,
    IdleView,
    InfoView,
    JobsView,
    JobView,
    ReceiptView,
    ReloadedView,
    ResultView,
    RetriedView,
    StatusView,
)

TIMEOUT = 30.0
CREATE_TIMEOUT = 600.0
"""Seconds that a batch of any size may take to become durable."""
BACKUP_TIMEOUT = 600.0
"""Seconds that a ledger of any size may take to be copied."""

_LONGEST_WAIT = 60
"""Seconds that one request may wait; a longer wait is several."""
_RETRY_DELAYS = (0.2, 1.0)


class Client:
    """Calls the daemon over its control socket. Each call is one connection, so threads may share a client.

    Ids of batches and jobs may be shortened while they are unique. Every method raises ``ButtermilkError``:
    ``NotRunningError`` and ``NotPermittedError`` where the daemon cannot be reached, else the class that fits
    what it answered, with its hint.

    Args:
        socket: the control socket; by default it is found as ``buttermilkctl`` finds it.
        config: the configuration file that says where the socket is.
        timeout: seconds to wait for an answer.
    """

    def __init__(
        self,
        socket: str | PathLike[str] | None = None,
        *,
        config: str | PathLike[str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        path = control_socket(Path(socket) if socket else None, Path(config) if config else None, environ)
        self._transport = Transport(path)
        self._timeout = timeout

    @property
    def socket(self) -> Path:
        """The control socket that this client calls."""
        return self._transport.path

    def close(self) -> None:
        """Break off calls that are under way in other threads; no call can be made after it."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Batches

    def create(
        self,
        flow: str,
        records: Iterable[str] | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        limit: int | None = None,
        priority: int = 0,
        batch_id: str | None = None,
        concurrency: int | None = None,
        error_policy: str = "continue",
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Created:
        """Create a batch; when this returns, it is durable.

        Args:
            flow: name of a configured flow.
            records: record ids; None takes the flow's own. A list of up to 10,000 is sent as one document,
                anything else as a stream, in little memory.
            parameters: over the flow's own; a list expands to variants.
            shuffle: None does as the flow is configured.
            seed: shuffle in an order that can be made again.
            limit: at most this many records, counted after shuffling.
            priority: higher goes first.
            batch_id: by default one is made.
            concurrency: at most this many jobs of the batch at once.
            error_policy: ``continue`` or ``stop`` at the first failed job.
            dry_run: check and count everything, and create nothing.
            idempotency_key: asking again with the same key creates nothing again; by default one is made.
        """
        request = CreateBatch(
            flow=flow,
            parameters=dict(parameters or {}),
            batch_id=batch_id,
            shuffle=shuffle,
            seed=seed,
            limit=limit,
            priority=priority,
            concurrency=concurrency,
            error_policy=error_policy,
            dry_run=dry_run,
        )
        return Created.of(self._create(request, records, idempotency_key or urandom(16).hex()))

    def batches(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        include_ended: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> BatchesView:
        """One page of batches, newest first: the active ones, or all. Its ``next`` is the next page's cursor."""
        query = {"status": status, "flow": flow, "all": include_ended, "limit": limit, "cursor": cursor}
        return cast(BatchesView, self.get("/v1/batches", query))

    def batch(self, batch_id: str, *, wait: float | None = None) -> BatchView:
        """One batch, at once, or as soon as it has ended but after ``wait`` seconds, rounded up, at the latest."""
        left = math.ceil(wait or 0)
        while True:
            piece = min(left, _LONGEST_WAIT)
            left -= piece
            timeout = self._timeout + piece
            view = cast(BatchView, self.get(_path(batch_id), {"wait": piece or None}, timeout=timeout))
            if left <= 0 or view["ended_at"] is not None:
                return view

    def jobs(
        self, batch_id: str, *, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> JobsView:
        """One page of a batch's jobs. Its ``next`` is the next page's cursor."""
        query = {"status": status, "limit": limit, "cursor": cursor}
        return cast(JobsView, self.get(f"{_path(batch_id)}/jobs", query))

    def job(self, job_id: str) -> JobView:
        return cast(JobView, self.get(f"/v1/jobs/{quote(job_id, safe='')}"))

    def results(self, batch_id: str) -> Iterator[ResultView]:
        """The results of a batch's ended jobs, as they arrive."""
        return cast(Iterator[ResultView], self._stream(f"{_path(batch_id)}/results", {}, self._timeout))

    def log(self, item_id: str, *, follow: bool = False) -> Iterator[bytes]:
        """What a job, or each job of a batch, printed; with ``follow`` on to its end."""
        timeout = None if follow else self._timeout
        with self._transport.exchange(
            "GET",
            f"{_path(item_id)}/log",
            query={"follow": follow},
            headers={"Accept": "text/plain"},
            timeout=timeout,
        ) as response:
            yield from chunks(response)

    def cancel(self, item_id: str, *, now: bool = False) -> ReceiptView:
        """Cancel a batch or a job; ``now`` kills what runs without waiting for it to stop."""
        return cast(ReceiptView, self._post(f"{_path(item_id)}/cancel", {"now": now}))

    def retry(self, item_id: str, *, failed: bool = False) -> RetriedView:
        """Queue again a job, or a batch's failed and cancelled jobs, or only its ``failed`` ones."""
        return cast(RetriedView, self._post(f"{_path(item_id)}/retry", {"failed": failed}))

    # Dead letters

    def dead(
        self, *, flow: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> DeadLettersView:
        """One page of dead letters, newest first: jobs that failed for good, and messages that cannot be read.

        With ``flow`` the jobs of that flow alone. Its ``next`` is the next page's cursor.
        """
        query = {"flow": flow, "limit": limit, "cursor": cursor}
        return cast(DeadLettersView, self.get("/v1/dead", query))

    def dead_letter(self, letter_id: str) -> DeadLetterView:
        """One dead letter; of a message its ``attributes``, and its bytes as base64 in ``data``."""
        return cast(DeadLetterView, self.get(f"/v1/dead/{quote(letter_id, safe='')}"))

    def requeue_dead(self, ids: Iterable[str]) -> DeadOutcomesView:
        """Run these jobs again, and publish these messages again; up to 1,000.

        Each is on its own: what became of it is in the answer, and is not raised.
        """
        return cast(DeadOutcomesView, self._post("/v1/dead/requeue", {"ids": _ids(ids)}))

    def drop_dead(self, ids: Iterable[str]) -> DeadOutcomesView:
        """List these jobs no longer, which stay failed, and delete these messages; as ``requeue_dead``."""
        return cast(DeadOutcomesView, self._post("/v1/dead/drop", {"ids": _ids(ids)}))

    # The daemon

    def pause(self, flow: str | None = None) -> dict[str, Any]:
        """Start no more jobs, of this flow or of any."""
        return self._post("/v1/pause", {"flow": flow})

    def resume(self, flow: str | None = None) -> dict[str, Any]:
        """Undo ``pause``."""
        return self._post("/v1/resume", {"flow": flow})

    def reload(self) -> ReloadedView:
        """Have the daemon read its configuration again; what has changed, once it is in force.

        Raises:
            MisconfiguredError: it is bad; ``problems`` holds a line for each reason, and the old one stays in force.
        """
        return cast(ReloadedView, self._post("/v1/reload", {}))

    def backup(self) -> Iterator[bytes]:
        """A copy of the daemon's ledger as it is now, an SQLite file, as it arrives; jobs go on meanwhile.

        Raises:
            NoAnswerError: it broke off: what has arrived is no copy.
            ConflictError: another copy is being made.
            StorageError: there is no room for it beside the ledger.
        """
        with self._transport.exchange(
            "POST", "/v1/backup", headers={"Accept": LEDGER}, timeout=BACKUP_TIMEOUT
        ) as response:
            left = response.length
            for chunk in chunks(response):
                left = None if left is None else left - len(chunk)
                yield chunk
            if left:
                raise NoAnswerError("cannot copy the ledger: the connection broke before its end")

    def status(self) -> StatusView:
        """The daemon: idle or why not, what runs, what waits."""
        return cast(StatusView, self.get("/v1/status"))

    def idle(self) -> IdleView:
        """The verdict, and each signal with its thresholds."""
        return cast(IdleView, self.get("/v1/idle"))

    def idle_history(self, *, days: int | None = None) -> HistoryView:
        """What became of the machine's time in the last days; None: as many as the daemon thinks fit."""
        query = {} if days is None else {"days": days}
        return cast(HistoryView, self.get("/v1/idle/history", query))

    def flows(self) -> FlowsView:
        """The flows configured, and whether each can run."""
        return cast(FlowsView, self.get("/v1/flows"))

    def events(
        self, *, since: int | None = None, batch: str | None = None, follow: bool = False
    ) -> Iterator[EventView]:
        """What happened after event number ``since``, and with ``follow`` what happens from now on."""
        query = {"since": since, "follow": follow, "batch": batch}
        timeout = None if follow else self._timeout
        return cast(Iterator[EventView], self._stream("/v1/events", query, timeout))

    def info(self) -> InfoView:
        """Versions of the API and of the daemon."""
        return cast(InfoView, self.get("/v1/info"))

    def resolve(self, prefix: str) -> list[str]:
        """Ids of batches and jobs, up to 20, that begin with ``prefix``."""
        return cast(list[str], self.get("/v1/resolve", {"prefix": prefix})["matches"])

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """The JSON document at any path of the API."""
        with self._transport.exchange("GET", path, query=query, timeout=timeout or self._timeout) as response:
            return document(response.read())

    def _stream(self, path: str, query: Mapping[str, Any], timeout: float | None) -> Iterator[Any]:
        with self._transport.exchange(
            "GET", path, query=query, headers={"Accept": NDJSON}, timeout=timeout
        ) as response:
            for line in lines(response):
                yield document(line)

    def _post(self, path: str, value: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(value).encode()
        return self._send(path, body, {"Content-Type": "application/json"}, self._timeout)

    def _send(self, path: str, body: Body, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        with self._transport.exchange("POST", path, body=body, headers=headers, timeout=timeout) as response:
            return cast(dict[str, Any], document(response.read()))

    def _create(self, request: CreateBatch, records: Iterable[str] | None, key: str) -> dict[str, Any]:
        """Post, and up to twice again where no answer came; a stream has been consumed and is sent only once."""
        body, content_type = create_body(request, records)
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        delays = list(_RETRY_DELAYS) if isinstance(body, bytes) else []
        unanswered: NoAnswerError | None = None
        while True:
            try:
                return self._send("/v1/batches", body, headers, CREATE_TIMEOUT)
            except NoAnswerError as error:
                unanswered = error
            except NotRunningError:
                if unanswered is None:
                    raise
            if not delays:
                raise NoAnswerError(
                    f"{unanswered}; the batch may or may not have been created",
                    hint="buttermilkctl list --all shows whether it was",
                ) from unanswered
            time.sleep(delays.pop(0))


def _ids(ids: Iterable[str]) -> list[str]:
    """Raises InvalidRequestError where one string would be taken for the ids of its letters."""
    if isinstance(ids, str):
        raise InvalidRequestError(
            "cannot tell which dead letters are meant: ids must be a list, not one string"
        )
    return list(ids)


def _path(item_id: str) -> str:
    """Where a batch or a job is: only job ids have a dot."""
    return f"/v1/{'jobs' if '.' in item_id else 'batches'}/{quote(item_id, safe='')}"
