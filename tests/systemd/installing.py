"""A machine in a box, a checkout in a fresh place on it, and the people who use what is installed from there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.systemd.box import booted
from tests.systemd.patience import PATIENCE
from tests.systemd.system import CHECKOUT, Systemd
from tests.systemd.wheels import wheels

_PYTHON = "/opt/python"
_WHEELS = "/opt/wheels-of-tests"
PLACE = "/srv/fresh/buttermilkd"
_COPIED = ("buttermilkd", "conf", "scripts", "README.md", "LICENSE", "pyproject.toml")
_FOLDERS = "/etc /opt /usr/local /var/lib /home /run"
"""Where an installation might leave something."""
_OTHERS = (
    r"^/etc/(passwd|group|g?shadow|sub[ug]id)-?$|^/etc/\.(pwd\.lock|updated)$|^/run/(systemd|user|udev|log|dbus|lock)"
    r"|^/var/lib/(systemd|dbus|private)|/\.cache(/|$)"
)
"""What systemd and those who make users write there themselves."""
_LONG = 20 * PATIENCE


@dataclass(frozen=True, slots=True)
class Computer:
    """One that has a checkout and no buttermilkd yet."""

    system: Systemd

    def script(self, *words: str, user: str = "root", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout, whether it succeeds or not."""
        variables = {"HOME": "/root" if user == "root" else f"/home/{user}", "LC_ALL": "C.UTF-8", **environ}
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": _WHEELS}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
        given = [f"{name}={value}" for name, value in {**pip, **variables, "PATH": path}.items()]
        became = [] if user == "root" else ["runuser", "-u", user, "--"]
        command = [*self.system.entrance, *became, "env", "-i", f"--chdir={PLACE}", *given, *words]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=_LONG,
            check=False,
        )

    def run(self, *words: str, user: str = "root", **environ: str) -> str:
        """What a command that must succeed prints, its messages as well."""
        done = self.script(*words, user=user, **environ)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def install(self, *options: str) -> str:
        return self.run("scripts/install", *self.python, *options)

    @property
    def python(self) -> tuple[str, ...]:
        """The option that names the interpreter of these tests, under a path that services see."""
        return () if sys.base_prefix == "/usr" else ("--python", f"{_PYTHON}/bin/python3")

    def write(self, path: str, text: str) -> None:
        self.system.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.system.file(path).write_text(text)

    def files(self) -> set[str]:
        """All files and links where an installation might leave some, but what others write there."""
        found = self.system.run(
            "sh", "-c", f"find {_FOLDERS} -xdev ! -type d ! -path '{_PYTHON}/*' | grep -Ev '{_OTHERS}'"
        )
        return set(found.splitlines())

    def add_user(self, name: str, *groups: str) -> None:
        self.system.run("useradd", "--create-home", "--shell", "/bin/sh", name)
        for group in groups:
            self.system.run("usermod", "-aG", group, name)


@contextmanager
def computer() -> Iterator[Computer]:
    """For as long as this lasts."""
    binds = ["--bind-ro", f"{wheels()}:{_WHEELS}"]
    if sys.base_prefix != "/usr":
        binds += ["--bind-ro", f"{sys.base_prefix}:{_PYTHON}"]
    with booted(*binds) as system:
        if sys.base_prefix != "/usr":
            # Or another libpython of the same version would be taken.
            system.run("sh", "-c", f"echo {_PYTHON}/lib >/etc/ld.so.conf.d/python.conf && ldconfig")
        # The box shows the machine's own files, on which somebody may have tried buttermilkd before.
        system.run("rm", "-rf", "/etc/buttermilkd", "/var/lib/buttermilkd", "/opt/buttermilkd")
        sources = [str(CHECKOUT / name) for name in _COPIED]
        system.run("sh", "-c", 'mkdir -p "$0" && cp -r "$@" "$0"', PLACE, *sources)
        yield Computer(system)
