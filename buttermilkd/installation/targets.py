"""Where the files of an installation go: for the whole machine, or for one user without root."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.places import SYSTEM, xdg


@dataclass(frozen=True, slots=True)
class Target:
    """The folders of one kind of installation. What is None there is not for this kind."""

    user: bool
    units: Path
    config: Path
    """The configuration file itself."""
    state: Path
    links: Path
    """Where programs are found by their names."""
    man: Path
    bash: Path
    fish: Path
    zsh: Path | None = None
    sysusers: Path | None = None
    tmpfiles: Path | None = None
    catalog: Path | None = None
    cache: Path | None = None
    """The home that the jobs' unit gives to jobs."""
    runtime: Path | None = None
    """What stays of a service's folder for sockets when it has stopped."""

    @property
    def bases(self) -> tuple[Path, ...]:
        """Folders that are not ours. Empty ones below them go with the last file in them; nothing else does."""
        return (self.man, *(folder.parents[1] for folder in (self.bash, self.fish, self.catalog) if folder))

    def systemctl(self, *arguments: str) -> tuple[str, ...]:
        """A command line for the manager of this kind."""
        return ("systemctl", *(("--user",) if self.user else ()), *arguments)


def machine(root: Path = Path("/")) -> Target:
    """For the whole machine. ``root`` stands before every path."""
    local = root / "usr/local"
    return Target(
        user=False,
        units=root / "etc/systemd/system",
        config=root / SYSTEM.config.relative_to("/"),
        state=root / SYSTEM.state.relative_to("/"),
        links=local / "bin",
        man=local / "share/man",
        bash=local / "share/bash-completion/completions",
        fish=local / "share/fish/vendor_completions.d",
        zsh=local / "share/zsh/site-functions",
        sysusers=root / "etc/sysusers.d",
        tmpfiles=root / "etc/tmpfiles.d",
        catalog=local / "lib/systemd/catalog",
        cache=root / "var/cache/buttermilkd",
        runtime=root / SYSTEM.runtime.relative_to("/"),
    )


def one_user(environ: Mapping[str, str]) -> Target:
    """For the user whose environment this is."""
    config, data = xdg(environ, "XDG_CONFIG_HOME", ".config"), xdg(environ, "XDG_DATA_HOME", ".local/share")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return Target(
        user=True,
        units=config / "systemd/user",
        config=config / "buttermilkd/buttermilkd.toml",
        state=xdg(environ, "XDG_STATE_HOME", ".local/state") / "buttermilkd",
        links=xdg({"HOME": environ.get("HOME", "")}, "", ".local/bin"),
        man=data / "man",
        bash=data / "bash-completion/completions",
        fish=data / "fish/vendor_completions.d",
        runtime=Path(runtime, "buttermilkd") if runtime.startswith("/") else None,
    )
