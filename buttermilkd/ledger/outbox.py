"""What is to be published: written in the same commit as what it tells of, and removed once it is published.

Operations for the writer's thread. Messages of the same topic go out in the order in which they were put here.
"""

import json
import sqlite3
from collections.abc import Sequence

from buttermilkd.messages import BatchEvent, HostAsks, JobRequest, JobUpdate
from buttermilkd.sharing import Post, Topic

PORTION = 1_000
"""Messages that Pub/Sub takes in one request."""
MOST_BYTES = 8_000_000
"""Of the messages of one request; Pub/Sub takes 10 MB."""


def put(
    connection: sqlite3.Connection,
    topic: Topic,
    message: JobRequest | JobUpdate | BatchEvent | HostAsks,
    ack_id: str | None = None,
) -> None:
    """Have this message published."""
    connection.execute(
        "INSERT INTO outbox (topic, data, attributes, ack_id) VALUES (?, ?, ?, ?)",
        (topic, message.encode(), json.dumps(message.attributes()), ack_id),
    )


def posts(connection: sqlite3.Connection, topic: Topic) -> list[Post]:
    """The next messages for this topic: as many as one request takes."""
    rows = connection.execute(
        "SELECT number, data, attributes, ack_id FROM outbox WHERE topic = ? ORDER BY number LIMIT ?",
        (topic, PORTION),
    )
    found: list[Post] = []
    size = 0
    for row in rows:
        size += len(row["data"]) + len(row["attributes"])
        if found and size > MOST_BYTES:
            break
        found.append(Post(row["number"], row["data"], json.loads(row["attributes"]), row["ack_id"]))
    return found


def remove(connection: sqlite3.Connection, posts: Sequence[Post]) -> None:
    """They are published."""
    connection.executemany("DELETE FROM outbox WHERE number = ?", [(post.number,) for post in posts])


def unpublished(connection: sqlite3.Connection) -> set[str]:
    """Messages, by their ack ids, whose successors are not published yet."""
    rows = connection.execute("SELECT ack_id FROM outbox WHERE ack_id IS NOT NULL")
    return {row["ack_id"] for row in rows}
