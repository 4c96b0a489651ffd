"""Routes about single jobs, and what they print."""

from collections.abc import AsyncGenerator, Iterable

from aiohttp import web

from buttermilkd.clock import iso
from buttermilkd.control.services import LOOK_AGAIN, Call, Services
from buttermilkd.control.streams import stream
from buttermilkd.jobs import Status
from buttermilkd.ledger import queries
from buttermilkd.messages import JobView

LOGS_AT_ONCE = 100
TEXT = "text/plain; charset=utf-8"


async def _resolve(services: Services, call: Call) -> str:
    return await services.ledger.query(lambda db: queries.resolve(db, call.path["job"]))


async def one(services: Services, call: Call) -> web.Response:
    """One job."""
    job_id = await _resolve(services, call)
    view = await services.ledger.query(lambda db: queries.job(db, job_id, services.host))
    tell_suspensions(services, [view])
    return web.json_response(view)


def tell_suspensions(services: Services, views: Iterable[JobView]) -> None:
    """Add what only the runner knows: which of these jobs stand still, and since when."""
    suspended = {one.job.job_id: one.suspended_at for one in services.runner.running()}
    for view in views:
        # What has just been given back may still be on its way out of the runner.
        if view["status"] == Status.RUNNING:
            view["suspended_at"] = iso(suspended.get(view["job_id"]))


async def cancel(services: Services, call: Call) -> web.Response:
    """Cancel one job, with a receipt."""
    job_id = await _resolve(services, call)
    now = call.body.get("now") is True
    return web.json_response(await services.batches.cancel_job(job_id, now=now, by=call.peer.uid))


async def retry(services: Services, call: Call) -> web.Response:
    """Run a failed or cancelled job again."""
    job_id = await _resolve(services, call)
    return web.json_response(await services.batches.retry_job(job_id, by=call.peer.uid))


async def log(services: Services, call: Call) -> web.StreamResponse:
    """What a job printed, of its last attempt; with ``follow`` as it prints, until it has ended."""
    job_id = await _resolve(services, call)
    return await stream(call, TEXT, _log(services, job_id, follow=call.flag("follow")))


async def batch_log(services: Services, call: Call) -> web.StreamResponse:
    """What a batch's jobs printed, each line behind its job's id; with ``follow`` until the batch has ended."""
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, call.path["batch"]))
    return await stream(call, TEXT, _batch_log(services, batch_id, follow=call.flag("follow")))


def _text(printed: bytes) -> bytes:
    """Printable whatever it was: bytes that are no UTF-8 become escapes."""
    return printed.decode("utf-8", "backslashreplace").encode()


async def _log(services: Services, job_id: str, *, follow: bool) -> AsyncGenerator[bytes]:
    sent = b""
    while True:
        status = await services.ledger.job_status(job_id)
        printed = services.runner.log(job_id)
        if printed is None:
            printed = await services.ledger.query(lambda db: queries.log(db, job_id))
        # What had been sent is gone from the front where the bounded log left something out, or begun anew.
        new = printed.removeprefix(sent)
        yield _text(new)  # nothing, where there is nothing new: somebody may have gone
        sent = printed
        if not follow or status.ended:
            return
        await services.clock.sleep(LOOK_AGAIN)


async def _batch_log(services: Services, batch_id: str, *, follow: bool) -> AsyncGenerator[bytes]:
    """Each job's output once it has ended, in the order of ending among those looked at together."""
    shown: set[int] = set()
    while True:
        ended = (await services.ledger.query(lambda db: queries.batch(db, batch_id, 0.0)))[
            "ended_at"
        ] is not None
        after = 0
        while True:
            at = after
            found = await services.ledger.query(lambda db: queries.logs(db, batch_id, at, LOGS_AT_ONCE))  # noqa: B023
            for number, printed in found:
                if number not in shown:
                    shown.add(number)
                    yield _prefixed(f"{batch_id}.{number}", printed)
            yield b""
            if len(found) < LOGS_AT_ONCE:
                break
            after = found[-1][0]
        if not follow or ended:
            return
        await services.clock.sleep(LOOK_AGAIN * 5)


def _prefixed(job_id: str, printed: bytes) -> bytes:
    lines = _text(printed).decode().splitlines()
    return "".join(f"{job_id} | {line}\n" for line in lines).encode()
