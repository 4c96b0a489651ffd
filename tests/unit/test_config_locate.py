import os
import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.config.load import load
from buttermilkd.config.locate import config_files, configured_state_dir, control_socket, find_config
from buttermilkd.errors import MisconfiguredError
from buttermilkd.places import Places, activity_socket, runtime_dir, state_dir

USER = 1000
ROOT = 0


@pytest.fixture
def system(tmp_path: Path) -> Places:
    """An empty machine."""
    return Places(tmp_path / "etc/buttermilkd.toml", tmp_path / "var", tmp_path / "run")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_configuration_is_looked_for_in_order(
    tmp_path: Path, system: Places, environ: dict[str, str]
) -> None:
    assert find_config(None, environ, system=system) is None
    users = write(tmp_path / "home/.config/buttermilkd/buttermilkd.toml")
    assert find_config(None, environ, system=system) == users
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert find_config(None, environ, system=system) is None
    xdg = write(tmp_path / "xdg/buttermilkd/buttermilkd.toml")
    assert find_config(None, environ, system=system) == xdg
    write(system.config)
    assert find_config(None, environ, system=system) == system.config
    named = write(tmp_path / "named.toml")
    environ["BUTTERMILKD_CONFIG"] = str(named)
    assert find_config(None, environ, system=system) == named
    flag = write(tmp_path / "flag.toml")
    assert find_config(flag, environ, system=system) == flag


@pytest.mark.parametrize(("by_flag", "source"), [(True, "--config"), (False, "$BUTTERMILKD_CONFIG")])
def test_a_named_file_that_does_not_exist_is_an_error(
    by_flag: bool, source: str, tmp_path: Path, system: Places
) -> None:
    missing = tmp_path / "missing.toml"
    environ = {} if by_flag else {"BUTTERMILKD_CONFIG": str(missing)}
    with pytest.raises(MisconfiguredError) as caught:
        find_config(missing if by_flag else None, environ, system=system)
    assert caught.value.problems == (f"{missing}: does not exist, though {source} names it",)
    assert caught.value.hint


def test_a_relative_xdg_folder_is_ignored(system: Places, environ: dict[str, str], tmp_path: Path) -> None:
    environ["XDG_STATE_HOME"] = "state"
    assert state_dir(environ, uid=USER, system=system) == tmp_path / "home/.local/state/buttermilkd"


def test_drop_ins_come_after_the_main_file_by_name(tmp_path: Path) -> None:
    main = write(tmp_path / "main.toml")
    assert config_files(main) == [main]
    later, earlier = write(tmp_path / "conf.d/20.toml"), write(tmp_path / "conf.d/10.toml")
    write(tmp_path / "conf.d/notes.txt")
    write(tmp_path / "conf.d/.10.toml.toml")
    assert config_files(main) == [main, earlier, later]
    assert config_files(None) == []


def test_the_state_directory(tmp_path: Path, system: Places, environ: dict[str, str]) -> None:
    assert state_dir(environ, uid=USER, system=system) == tmp_path / "home/.local/state/buttermilkd"
    assert state_dir(environ, uid=ROOT, system=system) == system.state
    environ["STATE_DIRECTORY"] = "/var/lib/one:/var/lib/two"
    assert state_dir(environ, uid=ROOT, system=system) == Path("/var/lib/one")


def test_the_runtime_directory(tmp_path: Path, system: Places, environ: dict[str, str]) -> None:
    state = tmp_path / "state"
    assert runtime_dir(environ, state, uid=USER, system=system) == state / "run"
    assert runtime_dir(environ, state, uid=ROOT, system=system) == system.runtime
    environ["XDG_RUNTIME_DIR"] = "/run/user/1000"
    assert runtime_dir(environ, state, uid=USER, system=system) == Path("/run/user/1000/buttermilkd")
    environ["RUNTIME_DIRECTORY"] = "/run/one:/run/two"
    assert runtime_dir(environ, state, uid=USER, system=system) == Path("/run/one")
    environ["BUTTERMILKD_RUNTIME_DIR"] = "/run/ours"
    assert runtime_dir(environ, state, uid=USER, system=system) == Path("/run/ours")


def test_the_control_socket_is_what_is_named_first(
    tmp_path: Path, system: Places, environ: dict[str, str]
) -> None:
    def found(explicit: Path | None = None, config: Path | None = None) -> Path:
        return control_socket(explicit, config, environ, uid=USER, system=system)

    assert found() == tmp_path / "home/.local/state/buttermilkd/run/control.sock"
    config = write(tmp_path / "main.toml", '[daemon]\nstate_dir = "state"\n')
    assert found(config=config) == tmp_path / "state/run/control.sock"
    write(tmp_path / "conf.d/runtime.toml", '[daemon]\nruntime_dir = "run"\n')
    assert found(config=config) == tmp_path / "conf.d/run/control.sock"
    environ["BUTTERMILKD_DAEMON__RUNTIME_DIR"] = "/run/other"
    assert found(config=config) == Path("/run/other/control.sock")
    environ["BUTTERMILKD_CONTROL_SOCKET"] = "/run/named.sock"
    assert found(config=config) == Path("/run/named.sock")
    assert found(Path("/run/flag.sock"), config) == Path("/run/flag.sock")


def test_the_configured_state_directory_is_the_daemons(
    tmp_path: Path, system: Places, environ: dict[str, str]
) -> None:
    config = write(tmp_path / "main.toml")
    usual = tmp_path / "home/.local/state/buttermilkd"
    assert configured_state_dir(config, environ, uid=USER, system=system) == usual
    write(config, '[daemon]\nstate_dir = "state"\n')
    assert configured_state_dir(config, environ, uid=USER, system=system) == tmp_path / "state"


def test_client_and_daemon_agree_on_the_directories(
    tmp_path: Path, system: Places, environ: dict[str, str]
) -> None:
    for text in ("", '[daemon]\nstate_dir = "state"\n', '[daemon]\nruntime_dir = "~/run"\n'):
        config = write(tmp_path / "main.toml", text)
        daemon = load(config, environ, system=system).daemon
        assert control_socket(None, config, environ, system=system) == daemon.runtime_dir / "control.sock"
        assert configured_state_dir(config, environ, system=system) == daemon.state_dir


def test_a_user_without_a_daemon_gets_the_systems(
    tmp_path: Path, system: Places, environ: dict[str, str]
) -> None:
    systems = write(system.runtime / "control.sock")
    assert control_socket(None, None, environ, uid=USER, system=system) == systems
    chosen = write(tmp_path / "chosen.toml")
    assert control_socket(None, chosen, environ, uid=USER, system=system) != systems
    own = write(tmp_path / "home/.local/state/buttermilkd/run/control.sock")
    assert control_socket(None, None, environ, uid=USER, system=system) == own


def test_a_configuration_that_a_client_cannot_parse_is_named_with_its_line(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    config = write(tmp_path / "main.toml", 'queue = "local"\n[daemon\n')
    with pytest.raises(MisconfiguredError) as caught:
        control_socket(None, config, environ)
    assert [problem.split(": is not TOML")[0] for problem in caught.value.problems] == [f"{config}:2"]


def test_a_runtime_directory_that_is_no_path_is_named_with_its_line(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    config = write(tmp_path / "main.toml", "[daemon]\nruntime_dir = 5\n")
    with pytest.raises(MisconfiguredError) as caught:
        control_socket(None, config, environ)
    assert caught.value.problems == (f"{config}:2: daemon.runtime_dir: must be a path in quotes",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_systems_configuration_that_a_user_may_not_read_is_no_error(
    system: Places, environ: dict[str, str]
) -> None:
    write(system.config, "[daemon\n").chmod(0)
    assert control_socket(None, None, environ, uid=USER, system=system).name == "control.sock"


def test_finding_things_imports_nothing_heavy() -> None:
    program = (
        "import sys; import buttermilkd.config.locate; "
        "print(*{'pydantic', 'asyncio', 'tomli', 'typing_extensions'} & set(sys.modules))"
    )
    # Where the source tree is not installed, it is found as these tests found it.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []


def test_where_a_web_server_reports_to(tmp_path: Path, system: Places, environ: dict[str, str]) -> None:
    def found(explicit: str | None = None, uid: int = USER) -> Path:
        return activity_socket(explicit, environ, uid=uid, system=system)

    environ["RUNTIME_DIRECTORY"] = "/run/the-web-servers-own"
    assert found() == tmp_path / "home/.local/state/buttermilkd/run/activity.sock"
    assert found(uid=ROOT) == system.runtime / "activity.sock"
    system.runtime.mkdir()
    (system.runtime / "activity.sock").touch()
    assert found() == system.runtime / "activity.sock"
    environ["BUTTERMILKD_RUNTIME_DIR"] = "/run/chosen"
    assert found() == Path("/run/chosen/activity.sock")
    environ["BUTTERMILKD_ACTIVITY_SOCKET"] = "/run/named.sock"
    assert found() == Path("/run/named.sock")
    assert found("/run/explicit.sock") == Path("/run/explicit.sock")
