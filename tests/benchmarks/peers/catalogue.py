"""The other queues: what each is made of, and its worker."""

from dataclasses import dataclass, field

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "main": (
        "celery[redis]",
        "dramatiq[redis]",
        "hiredis",
        "huey",
        "redis",
        "rq",
        "taskiq",
        "taskiq-redis",
        "uvloop",
    ),
    "arq": ("arq", "uvloop"),
}
"""Requirements of each environment; arq needs an older client of Redis than the others."""

_ADAPTERS = "tests.benchmarks.peers.adapters"


@dataclass(frozen=True)
class Peer:
    """One queue, with one worker process."""

    name: str
    adapter: str
    worker: tuple[str, ...]
    """The command; ``{bin}``, ``{at_once}`` and ``{redis}`` are filled in."""
    at_once: int
    """Jobs at once in that worker: where it is fastest."""
    jobs: int = 3_000
    """How many are drained: a slow one is known after fewer."""
    environment: str = "main"
    settings: dict[str, str] = field(default_factory=dict)
    idles: dict[str, str] | None = None
    """Settings while it waits, where those for speed would be unfair: as it comes."""
    needs_redis: bool = True


PEERS = (
    Peer(
        "Huey (SQLite)",
        "on_huey",
        ("{bin}/huey_consumer", f"{_ADAPTERS}.on_huey.huey", "-w", "{at_once}", "-q"),
        at_once=1,
        settings={"BENCH_STORE": "sqlite"},
        needs_redis=False,
    ),
    Peer(
        "Huey (Redis)",
        "on_huey",
        ("{bin}/huey_consumer", f"{_ADAPTERS}.on_huey.huey", "-w", "{at_once}", "-q"),
        at_once=1,
        settings={"BENCH_STORE": "redis"},
    ),
    Peer(
        "arq",
        "on_arq",
        ("{bin}/arq", f"{_ADAPTERS}.on_arq.WorkerSettings", "--custom-log-dict", f"{_ADAPTERS}.on_arq.QUIET"),
        at_once=100,
        environment="arq",
        settings={"BENCH_POLL": "0.01"},
        idles={},
    ),
    Peer(
        "taskiq",
        "on_taskiq",
        (
            *("{bin}/taskiq", "worker", f"{_ADAPTERS}.on_taskiq:broker", "--workers", "1"),
            *("--max-async-tasks", "{at_once}", "--log-level", "WARNING"),
        ),
        at_once=10,
    ),
    Peer(
        "Dramatiq",
        "on_dramatiq",
        ("{bin}/dramatiq", f"{_ADAPTERS}.on_dramatiq", "--processes", "1", "--threads", "{at_once}"),
        at_once=10,
    ),
    Peer(
        "Celery",
        "on_celery",
        (
            *("{bin}/celery", "-A", f"{_ADAPTERS}.on_celery:app", "worker", "-l", "WARNING"),
            *("-P", "threads", "-c", "{at_once}"),
        ),
        at_once=10,
    ),
    Peer(
        "RQ (SimpleWorker)",
        "on_rq",
        ("{bin}/rq", "worker", "bench", "--url", "{redis}", "-q", "-w", "rq.SimpleWorker"),
        at_once=1,
        jobs=600,
    ),
)

FORKING_RQ = Peer(
    "RQ (a fork for each job)",
    "on_rq",
    ("{bin}/rq", "worker-pool", "bench", "--url", "{redis}", "-q", "-n", "{at_once}"),
    at_once=2,
    jobs=200,
)
