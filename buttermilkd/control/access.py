"""Who may do what: decided by the peer's credentials, which the kernel vouches for."""

import asyncio
import grp
import os
import pwd
from collections.abc import Callable, Sequence
from enum import StrEnum

from buttermilkd.errors import NotPermittedError
from buttermilkd.peers import Peer, is_trusted


class Access(StrEnum):
    """What a route asks of its caller."""

    READ = "read"
    """Whoever the socket lets in."""
    CHANGE = "change"
    """Root, the daemon's own user, and members of ``control.admin_groups``."""


class Doorman:
    """Checks peers. Group memberships are looked up in a thread, since a directory service may be slow."""

    def __init__(self, admin_groups: Callable[[], Sequence[str]]) -> None:
        """``admin_groups`` gives them as they are at this moment."""
        self._groups = admin_groups

    async def check(self, peer: Peer, access: Access) -> None:
        """Return where the peer may do this.

        Raises:
            NotPermittedError: it may not.
        """
        if access is Access.READ or is_trusted(peer.uid):
            return
        admins = self._groups()
        if await asyncio.to_thread(_is_admin, peer, admins):
            return
        groups = " or ".join(admins) or "no group"
        name = await asyncio.to_thread(_name, peer.uid)
        raise NotPermittedError(
            f"cannot do this as {name or f'user {peer.uid}'}: only root, the daemon's user and members of {groups}"
            " may change things",
            hint=f"sudo usermod -aG {admins[0]} {name or 'NAME'}, then log in again"
            if admins
            else "name a group in control.admin_groups",
        )


def _is_admin(peer: Peer, groups: Sequence[str]) -> bool:
    allowed = set()
    for name in groups:
        try:
            allowed.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    if peer.gid in allowed:
        return True
    try:
        user = pwd.getpwuid(peer.uid)
    except KeyError:
        return False
    return not allowed.isdisjoint(os.getgrouplist(user.pw_name, user.pw_gid))


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
