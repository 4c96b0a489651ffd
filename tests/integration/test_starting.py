"""A start that takes long: systemd is asked for more time while the ledger is migrated."""

import sqlite3
from contextlib import closing
from pathlib import Path

from buttermilkd.clock import SystemClock
from buttermilkd.config.load import load
from buttermilkd.daemon import assembly
from buttermilkd.daemon.foundations import Given
from buttermilkd.ledger.ledger import FILE
from buttermilkd.ledger.schema import MIGRATIONS
from buttermilkd.testing import RecordingNotifier


class QuickClock(SystemClock):
    """A thousand seconds of waiting are one."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 1000)


async def test_more_time_is_asked_for_while_a_large_ledger_is_migrated(tmp_path: Path) -> None:
    state = tmp_path / "s"
    state.mkdir()
    with closing(sqlite3.connect(state / FILE)) as db:
        db.executescript(f"{';'.join(MIGRATIONS[:3])};PRAGMA user_version = 3;")
        with db:
            db.execute(
                """WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400000)
                   INSERT INTO jobs (batch, record_id, variant) SELECT 1, 'r', 0 FROM n"""
            )
    config = tmp_path / "b.toml"
    config.write_text('[daemon]\nstate_dir = "s"\nruntime_dir = "r"\n')
    clock = QuickClock()
    notifier = RecordingNotifier(clock)
    given = Given(read=lambda _: load(config, {}), notifier=notifier)
    async with assembly.opened(load(config, {}), clock, given):
        assert notifier.messages[0] == {"STATUS": "starting: the ledger is being opened"}
        assert {"EXTEND_TIMEOUT_USEC": "15000000"} in notifier.messages
        assert not [message for message in notifier.messages if "READY" in message]
