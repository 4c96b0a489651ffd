"""Who may do what: the daemon's account, the socket's rights, and the user who asks."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator, Sequence

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.installation.plans import ACCOUNT

_GROUP = stat.S_IRGRP | stat.S_IWGRP


def examine(installation: Installation, admin_groups: Sequence[str]) -> Iterator[Finding]:
    if installation.sudo:
        yield _account()
        yield _caller(admin_groups)
    if (rights := _rights(installation, admin_groups)) is not None:
        yield rights


def _account() -> Finding:
    try:
        account = pwd.getpwnam(ACCOUNT)
        group = grp.getgrgid(account.pw_gid).gr_name
    except KeyError:
        mend = "sudo systemd-sysusers (after sudo buttermilkctl service install)"
        return bad("account", f"there is no user {ACCOUNT} with a group, as whom the daemon runs", mend)
    return good("account", f"user {account.pw_name} ({account.pw_uid}), group {group}")


def _caller(admin_groups: Sequence[str]) -> Finding:
    """Whether who asks may change things; membership counts from the next login on."""
    name = _name(os.geteuid())
    if os.geteuid() == 0:
        return good("rights", "root may do everything")
    known = [group for group in admin_groups if _gid(group) is not None]
    if any(_gid(group) in {os.getegid(), *os.getgroups()} for group in known):
        return good("rights", f"{name} may create and cancel batches")
    if joined := [group for group in known if name in grp.getgrnam(group).gr_mem]:
        detail = f"{name} has been in the group {joined[0]} only since this session began"
        return bad("rights", detail, "log in again")
    if not known:
        detail = f"{name} may change nothing: there is no group {' or '.join(admin_groups) or 'in control.admin_groups'}"
        return bad("rights", detail, "sudo groupadd it, or set control.admin_groups")
    detail = f"{name} may not create and cancel batches: not in the group {' or '.join(known)}"
    return bad("rights", detail, f"sudo usermod -aG {known[0]} {name}, then log in again")


def _rights(installation: Installation, admin_groups: Sequence[str]) -> Finding | None:
    """Nothing where there is no socket: that there is no daemon is a finding of its own."""
    try:
        found = installation.socket.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        folder = installation.socket.parent
        return bad("socket", f"{installation.socket}: {error.strerror}", f"sudo chmod a+rx {folder}")
    owner, group = _name(found.st_uid), _group(found.st_gid)
    detail = f"{installation.socket}, {stat.filemode(found.st_mode)} {owner}:{group}"
    if installation.sudo and found.st_mode & _GROUP == _GROUP and group not in admin_groups:
        mend = f"sudo chgrp {admin_groups[0] if admin_groups else ACCOUNT} {installation.socket}"
        return bad("socket", f"{detail}: no group in control.admin_groups may connect", mend)
    return good("socket", detail)


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
