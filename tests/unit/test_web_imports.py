"""What a web server gets with the middleware: little, and nothing of the daemon."""

import json
import subprocess
import sys

import pytest

MODULES = ("asgi", "wsgi", "aiohttp")
LOADED = """
import json, sys
before = set(sys.modules)
import buttermilkd.web.{name}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
ELSEWHERE = """
import os, select, socket, sys
sys.platform = {system!r}
for module, name in ((os, "eventfd"), (os, "eventfd_write"), (os, "EFD_CLOEXEC"), (os, "register_at_fork"),
                     (os, "geteuid"), (select, "poll"), (socket, "AF_UNIX")):
    delattr(module, name)
import threading
from buttermilkd.web.asgi import ActivityMiddleware
from buttermilkd.web.wsgi import ActivityMiddleware as Wsgi
from buttermilkd.web.reporter import REPORTERS

async def application(scope, receive, send):
    pass

for kind in ("http", "websocket", "lifespan"):
    try:
        ActivityMiddleware(application, app="api")(
            {{"type": kind, "path": "/", "method": "GET", "headers": []}}, None, None
        ).send(None)
    except StopIteration:
        pass
response = Wsgi(lambda environ, start: [b"hello"], app="api")({{}}, None)
assert (list(response), len(response)) == ([b"hello"], 1)
response.close()
assert [one.activity.total for one in REPORTERS._reporters.values()] == [2, 1]
assert threading.active_count() == 1
REPORTERS.close()
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_of_the_daemon_a_web_server_loads_nothing_but_the_shared_words(name: str) -> None:
    loaded = json.loads(run(LOADED.format(name=name)))

    ours = {module for module in loaded if module.startswith("buttermilkd")}
    others = {module for module in ours if not module.startswith("buttermilkd.web")}
    assert others == {"buttermilkd", "buttermilkd.reports", "buttermilkd.places"}
    assert {module for module in ours if module.removeprefix("buttermilkd.web.") in MODULES} == {
        f"buttermilkd.web.{name}"
    }


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_it_needs_the_standard_library_only(name: str) -> None:
    loaded = json.loads(run(LOADED.format(name=name)))

    packages = {module.partition(".")[0] for module in loaded} - {"buttermilkd"}
    assert packages <= sys.stdlib_module_names
    assert not packages & {"asyncio", "logging", "http", "ssl", "multiprocessing", "subprocess"}


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_on_other_systems_it_does_nothing(system: str) -> None:
    run(ELSEWHERE.format(system=system))
