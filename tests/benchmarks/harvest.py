"""How much of the machine's time each policy harvests on made traces, and what it costs the people on it."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from tests.benchmarks.report import Report
from tests.benchmarks.simulation.oracle import Oracle
from tests.benchmarks.simulation.ours import Buttermilkd
from tests.benchmarks.simulation.peers import PEERS
from tests.benchmarks.simulation.policies import Policy, Ran
from tests.benchmarks.simulation.traces import TRACES
from tests.benchmarks.simulation.world import Overlaps, World, total
from tests.benchmarks.table import say

SEED = 20261124
NOTICED = 0.05
"""Seconds beside a running job from which a request counts as disturbed."""
HOUR = 3600.0


@dataclass(frozen=True)
class Score:
    """What a policy came to on one trace."""

    harvested: float
    undisturbed: float
    suspensions_per_hour: float
    ran: Ran

    @property
    def product(self) -> float:
        return self.harvested * self.undisturbed


def score(policy: Policy, world: World) -> Score:
    ran = policy.run(world)
    overlaps = Overlaps(ran.spans)
    spared = sum(overlaps.seconds(request) < NOTICED for request in world.requests)
    return Score(
        harvested=max(0.0, total(ran.spans) - ran.lost) / world.seconds,
        undisturbed=spared / len(world.requests) if world.requests else 1.0,
        suspensions_per_hour=ran.suspensions / (world.seconds / HOUR),
        ran=ran,
    )


def main(report: Report) -> None:
    """Print the table of ratios to the oracle, and the table of peers."""
    policies: list[Policy] = [Oracle(), Oracle(adaptive=False), Buttermilkd(), *PEERS]
    scores = {}
    for trace in report.pick(TRACES, TRACES[:2], TRACES[:1]):
        world = trace(SEED)
        say(f"# {world.name}: {len(world.requests):,} requests in {world.seconds / 86_400:.0f} days")
        for policy in policies:
            scores[world.name, policy.name] = score(policy, world)
    names = list(dict.fromkeys(name for name, _ in scores))
    _ours(report, names, scores)
    _peers(report, names, [policy.name for policy in policies], scores)


def _ours(report: Report, names: list[str], scores: dict[tuple[str, str], Score]) -> None:
    rows = []
    for name in names:
        ours, oracle = scores[name, "buttermilkd"], scores[name, "oracle"]
        always = scores[name, "oracle, 60 s always"]
        rows.append(
            [
                name,
                f"{ours.harvested:.1%}",
                f"{ours.harvested / oracle.harvested:.1%}",
                f"{ours.harvested / always.harvested:.1%}",
                f"{ours.undisturbed:.2%}",
                f"{ours.suspensions_per_hour:.2f}",
                str(ours.ran.started_in_flight),
                str(ours.ran.started_unseen),
            ]
        )
    report.show(
        f"harvest: buttermilkd beside an oracle (seed {SEED})",
        [
            "trace",
            "harvested",
            "of oracle",
            "of 60 s always",
            "undisturbed",
            "suspensions/h",
            "in flight",
            "unseen",
        ],
        rows,
        "goals: 95 % of the oracle with the same cool-down on every trace; at most 2.5 suspensions an hour on average",
        f"average suspensions an hour: {fmean(scores[name, 'buttermilkd'].suspensions_per_hour for name in names):.2f}",
    )
    worst = min(names, key=lambda name: _of_oracle(name, scores))
    report.goal(
        f"of the oracle, at worst ({worst})", 100 * _of_oracle(worst, scores), 95, at_least=True, unit="%"
    )
    started = sum(
        scores[name, "buttermilkd"].ran.started_in_flight + scores[name, "buttermilkd"].ran.started_unseen
        for name in names
    )
    report.goal("starts beside a request or unseen", started, 0)


def _of_oracle(name: str, scores: dict[tuple[str, str], Score]) -> float:
    return scores[name, "buttermilkd"].harvested / scores[name, "oracle"].harvested


def _peers(
    report: Report, names: list[str], policies: list[str], scores: dict[tuple[str, str], Score]
) -> None:
    titles: tuple[tuple[str, Callable[[Score], float]], ...] = (
        (
            "harvested share of wall time, times share of requests that no job met for 50 ms",
            lambda s: s.product,
        ),
        ("harvested share of wall time", lambda s: s.harvested),
        ("share of requests that no job met for 50 ms", lambda s: s.undisturbed),
    )
    for title, value in titles:
        rows = [
            [
                policy,
                *(f"{value(scores[name, policy]):.3f}" for name in names),
                f"{fmean(value(scores[name, policy]) for name in names):.3f}",
            ]
            for policy in policies
        ]
        report.show(f"harvest: {title}", ["policy", *names, "mean"], rows)
