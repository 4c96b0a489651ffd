"""The tables, and how an older ledger becomes a current one."""

import logging
import sqlite3

from buttermilkd.errors import StorageError
from buttermilkd.ledger.integrity import is_damage

logger = logging.getLogger(__name__)

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE batches (
        key           INTEGER PRIMARY KEY,
        batch_id      TEXT NOT NULL UNIQUE,
        flow          TEXT NOT NULL,
        flow_version  TEXT NOT NULL,
        variants      TEXT NOT NULL,              -- JSON: a list of parameter objects
        records       INTEGER NOT NULL,
        duplicates    INTEGER NOT NULL,
        seed          INTEGER,
        priority      INTEGER NOT NULL,
        concurrency   INTEGER,
        error_policy  TEXT NOT NULL,
        owner_uid     INTEGER NOT NULL,
        first_job     INTEGER NOT NULL,           -- jobs are first_job .. first_job + total - 1
        next_job      INTEGER NOT NULL,           -- no job from here on was ever taken
        total         INTEGER NOT NULL,
        pending       INTEGER NOT NULL,
        running       INTEGER NOT NULL DEFAULT 0,
        completed     INTEGER NOT NULL DEFAULT 0,
        failed        INTEGER NOT NULL DEFAULT 0,
        cancelled     INTEGER NOT NULL DEFAULT 0,
        phase         TEXT NOT NULL DEFAULT 'staged',   -- staged, open, stopping, ended
        created_at    REAL NOT NULL,              -- times: seconds since the epoch, UTC
        started_at    REAL,
        ended_at      REAL,
        cancelled_at  REAL
    );
    CREATE INDEX batches_open ON batches (priority DESC, key) WHERE phase = 'open';
    CREATE INDEX batches_phase ON batches (phase) WHERE phase IN ('staged', 'stopping');

    CREATE TABLE jobs (
        id            INTEGER PRIMARY KEY,        -- contiguous in a batch: its number is id - first_job + 1
        batch         INTEGER NOT NULL,
        record_id     TEXT NOT NULL,
        variant       INTEGER NOT NULL,           -- index into the batch's variants
        status        TEXT NOT NULL DEFAULT 'pending',
        attempt       INTEGER NOT NULL DEFAULT 0,
        deferrals     INTEGER NOT NULL DEFAULT 0,
        interruptions INTEGER NOT NULL DEFAULT 0,
        due           REAL,                       -- set while it waits to be taken again
        started_at    REAL,
        ended_at      REAL,
        host          TEXT,                       -- NULL: this one
        error         TEXT,
        cause         TEXT
    );
    CREATE INDEX jobs_due ON jobs (batch, due) WHERE due IS NOT NULL;
    CREATE INDEX jobs_running ON jobs (batch) WHERE status = 'running';
    CREATE INDEX jobs_failed ON jobs (batch, cause) WHERE status = 'failed';

    CREATE TABLE results (
        job           INTEGER PRIMARY KEY,
        result        TEXT NOT NULL               -- JSON
    );

    CREATE TABLE attempts (                       -- those that did not complete
        job           INTEGER NOT NULL,
        attempt       INTEGER NOT NULL,
        ending        TEXT NOT NULL,
        started_at    REAL,
        ended_at      REAL NOT NULL,
        cause         TEXT,
        error         TEXT
    );
    CREATE INDEX attempts_job ON attempts (job);

    CREATE TABLE logs (
        job           INTEGER NOT NULL,
        attempt       INTEGER NOT NULL,
        text          BLOB NOT NULL,
        PRIMARY KEY (job, attempt)
    );

    CREATE TABLE events (
        sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
        at            REAL NOT NULL,
        kind          TEXT NOT NULL,
        batch_id      TEXT,
        job_id        TEXT,
        message       TEXT NOT NULL
    );

    CREATE TABLE holds (                          -- the operator's pauses; '*' is everything
        flow          TEXT PRIMARY KEY,
        at            REAL NOT NULL,
        uid           INTEGER NOT NULL
    );

    CREATE TABLE answers (                        -- to requests that carried an Idempotency-Key
        key           TEXT NOT NULL,
        uid           INTEGER NOT NULL,
        request       TEXT NOT NULL,              -- digest of route and body
        status        INTEGER NOT NULL,
        body          TEXT NOT NULL,
        at            REAL NOT NULL,
        PRIMARY KEY (key, uid)
    );
    CREATE INDEX answers_at ON answers (at);
    """,
    """
    ALTER TABLE jobs ADD COLUMN disturbances INTEGER NOT NULL DEFAULT 0;   -- failures soon after a suspension

    CREATE TABLE idle_history (                   -- what became of the machine's time
        quarter       INTEGER NOT NULL,           -- when it began: seconds since the epoch
        state         TEXT NOT NULL,
        cause         TEXT NOT NULL,
        seconds       REAL NOT NULL,
        harvested     REAL NOT NULL,              -- seconds in which jobs ran
        suspensions   INTEGER NOT NULL,
        PRIMARY KEY (quarter, state, cause)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE idle_history ADD COLUMN written INTEGER NOT NULL DEFAULT 0;   -- number of the write that was the last
    CREATE INDEX idle_history_written ON idle_history (written);
    """,
    """
    ALTER TABLE jobs ADD COLUMN dropped_at REAL;  -- since when a failed one is no longer listed as a dead letter
    -- Only failed jobs are in it, so that taking and completing a job write nothing here.
    CREATE INDEX jobs_dead ON jobs (ended_at, id, batch) WHERE status = 'failed' AND dropped_at IS NULL;

    CREATE TABLE dead_letters (                   -- messages that could not be read
        number        INTEGER PRIMARY KEY AUTOINCREMENT,
        at            REAL NOT NULL,
        message_id    TEXT NOT NULL UNIQUE,
        reason        TEXT NOT NULL,
        size          INTEGER NOT NULL,           -- bytes of data
        data          BLOB NOT NULL,
        attributes    TEXT NOT NULL,              -- JSON
        published_at  REAL
    );
    CREATE INDEX dead_letters_at ON dead_letters (at);
    CREATE INDEX dead_letters_size ON dead_letters (size);
    """,
    """
    ALTER TABLE batches ADD COLUMN queue TEXT NOT NULL DEFAULT 'local';    -- where its jobs wait
    ALTER TABLE batches ADD COLUMN origin TEXT;               -- host that created it; NULL: this one; '': not told yet
    ALTER TABLE batches ADD COLUMN original_id TEXT;          -- as its creator writes it, where batch_id cannot be that
    ALTER TABLE batches ADD COLUMN span INTEGER NOT NULL DEFAULT 0;        -- ids kept for its jobs, total or more
    ALTER TABLE batches ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;    -- of the last event of the whole batch
    ALTER TABLE batches ADD COLUMN announced INTEGER NOT NULL DEFAULT -1;  -- records told to other hosts; -1: not even it
    ALTER TABLE batches ADD COLUMN published INTEGER NOT NULL DEFAULT 0;   -- jobs, from the first, handed to Pub/Sub
    UPDATE batches SET span = total;

    ALTER TABLE jobs ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;     -- how often it was published anew
    ALTER TABLE jobs ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;       -- of the last change that is known
    ALTER TABLE jobs ADD COLUMN own_flow TEXT;                -- where it is another one than its batch's
    ALTER TABLE jobs ADD COLUMN heard_at REAL;                -- when a host last said that it runs there

    CREATE TABLE leases (                         -- of messages whose jobs run here
        job           INTEGER PRIMARY KEY,
        ack_id        TEXT NOT NULL
    );

    CREATE TABLE outbox (                         -- messages that are to be published
        number        INTEGER PRIMARY KEY AUTOINCREMENT,
        topic         TEXT NOT NULL,              -- jobs or status
        data          BLOB NOT NULL,
        attributes    TEXT NOT NULL,              -- JSON
        ack_id        TEXT                        -- of the message that is acknowledged once this one is published
    );
    CREATE INDEX outbox_topic ON outbox (topic, number);
    CREATE INDEX batches_shared ON batches (key) WHERE queue = 'pubsub' AND origin IS NULL;
    """,
    """
    ALTER TABLE batches ADD COLUMN rival TEXT;                -- host that created another batch under the same id
    """,
    """
    CREATE INDEX batches_ended ON batches (ended_at, key) WHERE phase = 'ended';

    CREATE TABLE removals (                       -- ids of jobs whose batch is gone, and which are still to go
        start         INTEGER PRIMARY KEY,
        stop          INTEGER NOT NULL            -- the first one after them
    );
    """,
)
"""``PRAGMA user_version`` counts how many of these a ledger has had."""

VERSION = len(MIGRATIONS)

_FINDING_JOBS = ("batches_open", "batches_phase", "batches_shared", "jobs_due", "jobs_running")
"""Indexes of a few rows each."""

INCREMENTAL = 2
"""What ``PRAGMA auto_vacuum`` answers where unused pages can be given back a few at a time."""


def configure(connection: sqlite3.Connection) -> None:
    """Make every commit of this connection survive a power cut."""
    connection.execute("PRAGMA busy_timeout = 10000")
    if not _is_shrinkable(connection):
        # Counts while the file is empty, and at a VACUUM. Where it holds already, to say it again would write.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA cache_size = -8192")


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations a ledger has had."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the ledger to ``VERSION``, each step in a transaction of its own.

    Raises:
        StorageError: the ledger was written by a newer version.
    """
    version = version_of(connection)
    if version > VERSION:
        raise StorageError(
            f"cannot open {path}: it was written by a newer version (schema {version}, this one knows {VERSION})",
            hint="install that version again, or go back to a backup: buttermilkctl restore FILE",
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version = {number};COMMIT;")
    if not _is_shrinkable(connection):
        _make_shrinkable(connection, path)


def renew_indexes(connection: sqlite3.Connection, path: str) -> None:
    """Write those anew by which jobs are found that are to run: one that misses some would keep them waiting for ever.

    A tenth of a second for a million jobs. The check at a start does not compare each row with each index.

    Raises:
        sqlite3.Error: the ledger is damaged. Where there is no room, nothing is done.
    """
    try:
        for index in _FINDING_JOBS:
            connection.execute(f"REINDEX {index}")
    except sqlite3.Error as error:
        if is_damage(error):
            raise
        logger.warning("the indexes of %s could not be written anew: %s", path, error)


def _make_shrinkable(connection: sqlite3.Connection, path: str) -> None:
    """Write a ledger anew that cannot give room back to the file system: it is from before that was asked of it."""
    try:
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        logger.warning("%s will not get smaller when batches are removed: %s", path, error)


def _is_shrinkable(connection: sqlite3.Connection) -> bool:
    mode: int = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
    return mode == INCREMENTAL
