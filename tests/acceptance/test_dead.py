"""Dead letters, as users meet them: what failed for good is listed, mended, requeued, or dropped."""

from buttermilkd.messages import DeadLetterView
from tests.acceptance.program import Daemon

FLOWS = """
[flows.reads]
command = ["sh", "-c", "cat {record_id} 2>/dev/null || { echo no such text; exit 65; }"]
"""


def listed(daemon: Daemon) -> list[DeadLetterView]:
    found: list[DeadLetterView] = daemon.ctl_json("dead", "list", "--flow", "reads")["dead"]
    return found


def test_what_failed_for_good_is_listed_until_it_is_mended_or_dropped(daemon: Daemon) -> None:
    daemon.write(FLOWS)
    daemon.start()
    batch = daemon.client.create("reads", records=["one.txt", "two.txt"], shuffle=False).batch_id
    assert daemon.ended(batch)["failed"] == 2

    assert {(letter["id"], letter["record_id"], letter["attempt"]) for letter in listed(daemon)} == {
        (f"{batch}.1", "one.txt", 1),
        (f"{batch}.2", "two.txt", 1),
    }
    assert "exit status 65" in daemon.ctl("dead", "show", f"{batch}.1").stdout

    (daemon.folder / "one.txt").write_text('{"mended": true}\n')
    assert daemon.ctl("dead", "requeue", f"{batch}.1").stdout == f"{batch}.1: queued again\n"
    assert daemon.ended(batch)["completed"] == 1
    assert daemon.client.job(f"{batch}.1")["result"] == {"mended": True}
    assert [letter["id"] for letter in listed(daemon)] == [f"{batch}.2"]

    daemon.kill()
    daemon.start()
    assert daemon.ctl("dead", "drop", f"{batch}.2").stdout == f"dropped {batch}.2\n"
    assert listed(daemon) == []
    view = daemon.client.batch(batch)
    assert (view["status"], view["completed"], view["failed"]) == ("failed", 1, 1)
    for action in ("show", "requeue", "drop"):
        done = daemon.ctl("dead", action, f"{batch}.2")
        assert done.returncode == 5
        assert "it was dropped" in done.stderr
        assert f"hint: to run it again all the same: buttermilkctl retry {batch}.2" in done.stderr
    assert daemon.ctl("retry", f"{batch}.2").returncode == 0
    assert daemon.ended(batch)["failed"] == 1
    assert [letter["id"] for letter in listed(daemon)] == [f"{batch}.2"]
