"""The idleness decision for people and programs: what the API answers and ``buttermilkctl idle`` prints."""

from buttermilkd.clock import Clock, iso
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.observations import Web
from buttermilkd.idle.policy.readings import Reading
from buttermilkd.messages import (
    IdleView,
    ProtectionView,
    ReporterView,
    RunningJobsView,
    SignalView,
    SuspendingView,
)


def idle_view(look: Look, clock: Clock, no_freezer: str | None = None) -> IdleView:
    """The verdict, each signal and each threshold, as of the look; ``no_freezer`` says why jobs have no groups."""
    verdict, actions, jobs, protection = look.verdict, look.actions, look.sample.jobs, look.sample.protection

    def at(monotonic: float | None) -> str | None:
        """A monotonic time as the wall clock shows it now."""
        return None if monotonic is None else iso(monotonic - clock.monotonic() + clock.now())

    return IdleView(
        idle=verdict.idle,
        state=verdict.state,
        since=at(verdict.since) or "",
        sentence=verdict.sentence,
        reasons=list(verdict.reasons),
        cause=verdict.cause,
        resume_at=at(verdict.resumes_at),
        start_at=at(verdict.starts_at),
        signals=[_signal(reading) for reading in verdict.readings],
        protection=ProtectionView(proven=protection.proven, why=protection.why, exposed=verdict.exposed),
        running_jobs=[
            RunningJobsView(on_busy="auto", jobs=jobs.auto, stance=actions.auto),
            RunningJobsView(on_busy="suspend", jobs=jobs.suspend, stance=actions.suspend),
            RunningJobsView(on_busy="requeue", jobs=jobs.requeue, stance=actions.requeue),
            RunningJobsView(on_busy="finish", jobs=jobs.finish, stance="go on"),
        ],
        suspending=SuspendingView(method="signals" if no_freezer else "freezer", why=no_freezer),
    )


def _signal(reading: Reading) -> SignalView:
    return SignalView(
        name=reading.signal.name,
        value=reading.value,
        busy_at=reading.signal.busy_at,
        clear_at=reading.signal.clear_at,
        state="missing" if reading.is_missing else reading.level.name.lower(),
        reason=reading.reason,
        timer=reading.timer,
    )


def reporter_views(web: Web, now: float) -> list[ReporterView]:
    """The reporters, by name, process and worker; ``now`` is monotonic time."""
    views = [
        ReporterView(
            app=one.app,
            pid=one.pid,
            worker=one.worker,
            kind=one.kind,
            requests=one.requests,
            websockets=one.websockets,
            total=one.total,
            idle_seconds=round(now - one.idle_since, 3),
            stale=one.is_stale(now) or bool(one.problem),
        )
        for one in web.reporters
    ]
    return sorted(views, key=lambda view: (view["app"], view["pid"] or 0, view["worker"]))
