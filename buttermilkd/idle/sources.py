"""All that is known of people: what web servers report, and what probes have seen of servers that do not."""

from collections.abc import Callable
from dataclasses import replace

from buttermilkd.cgroups import Membership
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.policy.observations import Web
from buttermilkd.idle.probes.probing import Probing


class Sources:
    """Both together, as the gate wants them."""

    def __init__(self, server: ActivityServer, probing: Probing) -> None:
        self.server = server
        self.probing = probing

    @property
    def on_change(self) -> Callable[[], None]:
        """Called when any of them tells something new."""
        return self.server.on_change

    @on_change.setter
    def on_change(self, call: Callable[[], None]) -> None:
        self.server.on_change = self.probing.on_change = call

    def observe(self) -> Web:
        web = self.server.observe()
        seen = self.probing.reporters()
        return replace(web, reporters=(*web.reporters, *seen)) if seen else web

    def memberships(self) -> frozenset[Membership]:
        """Where the web servers run. Where those do that are looked at from outside, nobody knows."""
        known = self.server.memberships()
        return known | {Membership(None)} if self.probing.reporters() else known

    def sweep(self) -> None:
        self.server.sweep()
