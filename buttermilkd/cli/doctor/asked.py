"""Which daemon is asked, and how its manager is told to do something."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.installation.targets import Target, machine, one_user
from buttermilkd.places import SYSTEM


@dataclass(frozen=True, slots=True)
class Installation:
    """Which daemon is asked: the machine's, one of this user's, or one that somebody started by hand."""

    socket: Path
    target: Target | None
    """None for one that was started by hand, with folders of its own."""

    @classmethod
    def of(cls, socket: Path, environ: Mapping[str, str]) -> "Installation":
        if socket.parent == SYSTEM.runtime:
            return cls(socket, machine())
        own = one_user(environ)
        return cls(socket, own if socket.parent == own.runtime else None)

    def config(self, chosen: Path | None, environ: Mapping[str, str]) -> Path | None:
        """The configuration that its unit names, where nobody has chosen another one."""
        if chosen or environ.get("BUTTERMILKD_CONFIG") or not self.target or not self.target.user:
            return chosen
        return self.target.config if self.target.config.exists() else None

    @property
    def sudo(self) -> str:
        return "sudo " if self.target and not self.target.user else ""

    def systemctl(self, *arguments: str) -> str:
        """A command line for people."""
        assert self.target is not None  # noqa: S101 - asked of those alone that systemd runs
        return self.sudo + " ".join(self.target.systemctl(*arguments))
