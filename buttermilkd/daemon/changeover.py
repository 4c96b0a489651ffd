"""How the rooms change over to other settings while the daemon runs."""

from collections.abc import Callable
from contextlib import suppress

from buttermilkd.config.settings import ActivitySettings, Settings
from buttermilkd.daemon.foundations import CONTROL, Foundations, Given
from buttermilkd.daemon.reload import Rooms
from buttermilkd.host.sockets import give_to, ids_of
from buttermilkd.idle.gate import Gate
from buttermilkd.idle.probes.base import Probe
from buttermilkd.places import CONTROL_SOCKET
from buttermilkd.queues.base import Queue
from buttermilkd.runner.runner import Runner
from buttermilkd.suspension import Suspension


def change_over_of(
    given: Given,
    on: Foundations,
    runner: Runner,
    queue: Queue,
    suspension: Suspension,
    gate: Gate,
    probes: Callable[[ActivitySettings], list[Probe]],
) -> Rooms:
    """What has every room work by other settings, the gate last: it acts on what it decides at once."""

    def prepare(settings: Settings) -> Callable[[], None]:
        admins = ids_of(settings.control.admin_groups)

        def change_over() -> None:
            if CONTROL not in given.sockets:
                with suppress(OSError):  # somebody has removed it
                    give_to(settings.daemon.runtime_dir / CONTROL_SOCKET, admins)
            runner.reconfigure(settings.daemon.concurrency)
            queue.reconfigure()
            suspension.reconfigure(settings.idle.suspend_max)
            on.activity.probing.reconfigure(probes(settings.activity), settings.activity.probe_every)
            if on.recorder is not None:
                on.recorder.reconfigure(settings.idle)
            gate.reconfigure(settings.idle, settings.daemon.concurrency)

        return change_over

    return prepare
