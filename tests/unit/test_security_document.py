"""The limits in ``docs/security.md`` are those of the code."""

import inspect
from pathlib import Path

import pytest
from aiohttp.web_protocol import RequestHandler

from buttermilkd import reports
from buttermilkd.control import batches, connections, malformed, services
from buttermilkd.idle.activity import server as activity
from buttermilkd.messages import wire
from buttermilkd.runner.launcher.environment import inherited

DOCUMENT = (Path(__file__).parents[2] / "docs/security.md").read_text()
MIB = 1024 * 1024
HTTP = inspect.signature(RequestHandler).parameters


@pytest.mark.parametrize(
    "row",
    [
        f"| connections | {connections.MAX_CONNECTIONS}, of which {connections.RESERVED} are kept for root",
        f"| connections of one other user | {connections.MAX_CONNECTIONS_PER_UID} |",
        f"from the connection or the answer before | {connections.KEEP_ALIVE:.0f} s |",
        f"let in, answered or heard less than {connections.GRACE:.0f} s ago",
        f"takes nothing of the answer, for {connections.STUCK_AFTER:.0f} s, or for {connections.DOWNLOAD_STUCK_AFTER:.0f} s",
        f"| time without taking anything of an answer | {connections.READ_WITHIN:.0f} s |",
        f"| a line of the head | {HTTP['max_line_size'].default:,} bytes |",
        f"| a body that says what is to be done | {services.OBJECT_LIMIT // MIB} MiB |",
        f"| a batch as one JSON object | {services.BODY_LIMIT // MIB} MiB |",
        f"| a batch as lines | {services.STREAM_LIMIT // MIB:,} MiB, {batches.MOST_RECORDS:,} records, ",
        f"records, {batches.LONGEST_LINE // MIB} MiB in a line |",
        f"| headers | {HTTP['max_headers'].default} |",
        f"| time without another byte of a body | {services.BODY_PATIENCE:.0f} s |",
        f"| time for the whole of a body | {services.BODY_WITHIN:,.0f} s |",
        f"| lists and objects within each other | {wire.MAX_DEPTH} |",
        f"every {malformed.TOLD_EVERY:.0f} s at most",
        f"| connections | {activity.MAX_CONNECTIONS}, of which {activity.RESERVED} are kept for root",
        f"| connections of one user, root excepted | {activity.MAX_CONNECTIONS_PER_UID} |",
        f"| a line | {reports.MAX_LINE:,} bytes |",
        f"| lines in a second | {reports.MAX_LINES_PER_SECOND} |",
        f"| time without a word | {activity.STALE_FOR:.0f} s after three beats",
    ],
)
def test_each_limit_is_told_as_it_is(row: str) -> None:
    assert row in DOCUMENT


def test_what_is_said_not_to_be_inherited_is_not() -> None:
    told = ("BUTTERMILKD_X", "NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY")
    own = dict.fromkeys((*told, "GOOGLE_APPLICATION_CREDENTIALS"), "x")
    assert all(name.partition("_")[0] in DOCUMENT for name in own)
    assert inherited({**own, "PATH": "/bin"}) == {"PATH": "/bin"}
