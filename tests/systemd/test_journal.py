"""In a real journal: each batch and each job is found by its id, with its story, its output and its explanation."""

import json
from typing import Any

import pytest

from buttermilkd.journal import Kind
from tests.systemd.patience import until
from tests.systemd.services import PROGRAMS, DaemonService
from tests.systemd.system import CHECKOUT

pytestmark = pytest.mark.needs_root

FLOWS = """
[flows.talk]
command = ["sh", "-c", '''
    printf 'Grüße, %s\\nzwei\\n' "$BUTTERMILK_RECORD_ID"
    printf 'beware\\n<3>broken\\n\\377\\000\\n' >&2
    printf 'no end'
''']

[flows.fail]
max_retries = 1
backoff = "0s"
command = ["sh", "-c", "echo $BUTTERMILK_ATTEMPT; exit 3"]

[flows.flood]
command = ["seq", "300000"]

[flows.call]
entrypoint = "glob:glob"
"""

Entry = dict[str, Any]


class Journal:
    """What the journal has of one daemon."""

    def __init__(self, daemon: DaemonService) -> None:
        self._daemon = daemon

    def of(self, *matches: str) -> list[Entry]:
        self._daemon.system.run("journalctl", "--sync")
        lines = self._daemon.system.run(
            "journalctl", "--no-pager", "--output=json", f"--unit={self._daemon.unit}", *matches
        )
        return [json.loads(line) for line in lines.splitlines()]

    def said(self, *matches: str) -> list[tuple[str, str]]:
        """Who said what."""
        return [(entry["SYSLOG_IDENTIFIER"], entry["MESSAGE"]) for entry in self.of(*matches)]

    def until_told(self, kind: Kind, *matches: str) -> list[Entry]:
        return list(until(lambda: self.of(f"MESSAGE_ID={kind}", *matches), f"a record of {kind.name}"))


@pytest.fixture
def journal(daemon: DaemonService) -> Journal:
    return Journal(daemon)


def test_a_batch_is_found_by_its_id_with_its_story_and_its_output_and_nothing_else(
    daemon: DaemonService, journal: Journal
) -> None:
    daemon.start(flows=FLOWS)
    batch = daemon.client.create("talk", records=["Zoë"]).batch_id
    other = daemon.client.create("talk", records=["other"]).batch_id
    for one in (batch, other):
        journal.until_told(Kind.BATCH_COMPLETED, f"BATCH_ID={one}")
    found = journal.of(f"BATCH_ID={batch}")
    assert {entry["BATCH_ID"] for entry in found} == {batch}
    assert [entry["MESSAGE"] for entry in found if "STREAM" not in entry] == [
        f"created {batch}: 1 job of talk",
        f"{batch} has begun",
        f"{batch} has ended completed: 1 completed, 0 failed, 0 cancelled",
    ]
    output = {entry["MESSAGE"]: entry for entry in found if "STREAM" in entry}
    assert {text: (entry["STREAM"], entry["PRIORITY"]) for text, entry in output.items()} == {
        "Grüße, Zoë": ("stdout", "6"),
        "zwei": ("stdout", "6"),
        "no end": ("stdout", "6"),
        "beware": ("stderr", "5"),
        "broken": ("stderr", "3"),
        "\\xff\\x00": ("stderr", "5"),
    }
    for entry in output.values():
        names = ("JOB_ID", "RECORD_ID", "FLOW", "ATTEMPT", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT")
        expected = (f"{batch}.1", "Zoë", "talk", "1", "talk", daemon.unit)
        assert tuple(entry[name] for name in names) == expected


def test_a_job_is_found_by_its_id_with_all_of_its_attempts(daemon: DaemonService, journal: Journal) -> None:
    daemon.start(flows=FLOWS)
    batch = daemon.client.create("fail", records=["a", "b"]).batch_id
    journal.until_told(Kind.BATCH_FAILED, f"BATCH_ID={batch}")
    assert journal.said(f"JOB_ID={batch}.1") == [
        ("fail", "1"),
        ("buttermilkd", f"{batch}.1 failed, attempt 1: exit status 3; it is tried again in 0 s"),
        ("fail", "2"),
        ("buttermilkd", f"{batch}.1 failed, attempt 2: exit status 3; it is a dead letter now"),
    ]
    (failed,) = journal.of(f"MESSAGE_ID={Kind.JOB_FAILED}", "RECORD_ID=b")
    assert (failed["PRIORITY"], failed["ATTEMPT"], failed["JOB_ID"]) == ("4", "2", f"{batch}.2")


def test_a_change_names_the_user_who_asked_for_it(daemon: DaemonService, journal: Journal) -> None:
    daemon.start(flows=FLOWS)
    daemon.ctl_json("pause", "talk")
    batch = daemon.client.create("talk", records=["r"]).batch_id
    daemon.client.cancel(batch)
    daemon.ctl_json("resume")
    journal.until_told(Kind.RESUMED)
    told = [(entry["MESSAGE_ID"], entry["MESSAGE"]) for entry in journal.of("PEER_UID=0")]
    assert (Kind.PAUSED, "paused flow talk") in told
    assert (Kind.RESUMED, "resumed everything") in told
    assert (Kind.BATCH_CREATED, f"created {batch}: 1 job of talk") in told
    assert (Kind.CANCEL_ASKED, f"cancelled {batch}: 1 dropped, 0 stopped, 0 already ended") in told
    journal.until_told(Kind.BATCH_CANCELLED, f"BATCH_ID={batch}")


def test_a_change_that_is_refused_names_the_user_as_well(daemon: DaemonService, journal: Journal) -> None:
    daemon.start("Environment=BUTTERMILKD_CONTROL__SOCKET_MODE=0666", flows=FLOWS)
    batch = daemon.client.create("talk", records=["r"]).batch_id
    ctl = str(PROGRAMS / "buttermilkctl")
    asked = (ctl, "--socket", daemon.socket("control"), "cancel", batch)
    refused = daemon.system.run(
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "sh",
        "-c",
        '"$@" 2>&1 || echo "exit $?"',
        "sh",
        *asked,
    )
    assert refused.splitlines()[-1] == "exit 4"
    (entry,) = journal.until_told(Kind.CHANGE_REFUSED)
    assert (entry["PEER_UID"], entry["PRIORITY"]) == ("65534", "4")
    assert entry["MESSAGE"] == f"refused POST /v1/batches/{batch}/cancel: user 65534 may not change things"


def test_a_flood_of_one_job_is_cut_with_a_count_and_drowns_nobody(
    daemon: DaemonService, journal: Journal
) -> None:
    daemon.start(flows=FLOWS)
    flood = daemon.client.create("flood", records=["r"]).batch_id
    quiet = daemon.client.create("talk", records=["r"]).batch_id
    for one in (flood, quiet):
        journal.until_told(Kind.BATCH_COMPLETED, f"BATCH_ID={one}")
    printed = journal.of(f"JOB_ID={flood}.1", "STREAM=stdout")
    numbers = [int(entry["MESSAGE"]) for entry in printed]
    left_out = [int(entry["LINES"]) for entry in journal.of(f"MESSAGE_ID={Kind.OUTPUT_CUT}")]
    assert numbers == sorted(numbers)
    assert numbers[:500] == list(range(1, 501))
    assert len(numbers) + sum(left_out) == 300_000
    assert len(journal.of(f"JOB_ID={quiet}.1", "_TRANSPORT=journal")) == 6
    assert daemon.ctl_json("status")["journal"] == {"lost": 0}


def test_output_stays_out_of_the_journal_where_the_configuration_says_so(
    daemon: DaemonService, journal: Journal
) -> None:
    daemon.start("Environment=BUTTERMILKD_DAEMON__JOURNAL_OUTPUT=false", flows=FLOWS)
    batch = daemon.client.create("talk", records=["r"]).batch_id
    journal.until_told(Kind.BATCH_COMPLETED, f"BATCH_ID={batch}")
    assert journal.of("SYSLOG_IDENTIFIER=talk") == []
    assert b"zwei" in b"".join(daemon.client.log(f"{batch}.1"))


def test_the_journal_explains_each_record_and_says_what_to_do(
    daemon: DaemonService, journal: Journal
) -> None:
    catalogue = CHECKOUT / "buttermilkd/systemd/buttermilkd.catalog"
    daemon.system.run("cp", str(catalogue), "/usr/lib/systemd/catalog/")
    daemon.system.run("journalctl", "--update-catalog")
    known = daemon.system.run("journalctl", "--list-catalog").splitlines()
    assert {line.split()[0] for line in known} >= {kind.value for kind in Kind}
    daemon.start(flows=FLOWS)
    batch = daemon.client.create("fail", records=["r"]).batch_id
    journal.until_told(Kind.BATCH_FAILED)
    text = daemon.system.run(
        *("journalctl", "--no-pager", "--catalog", f"--unit={daemon.unit}", f"MESSAGE_ID={Kind.BATCH_FAILED}")
    )
    assert f"Subject: Batch {batch} has ended with failed jobs" in text
    assert f"buttermilkctl retry {batch} --failed" in text


def test_a_daemon_that_cannot_start_says_why_in_one_record(daemon: DaemonService, journal: Journal) -> None:
    with pytest.raises(AssertionError):
        daemon.start("Environment=BUTTERMILKD_DAEMON__CONCURRENCY=none", flows=FLOWS)
    (entry,) = journal.until_told(Kind.CANNOT_START)
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("2", "buttermilkd")
    problem, told, *_ = entry["MESSAGE"].splitlines()
    assert "daemon.concurrency" in problem
    assert told == "error: cannot use the configuration: 1 problem"


def test_a_journal_that_is_started_again_misses_nothing(daemon: DaemonService, journal: Journal) -> None:
    daemon.start(flows=FLOWS)
    daemon.system.run("systemctl", "restart", "systemd-journald")
    batch = daemon.client.create("talk", records=["r"]).batch_id
    journal.until_told(Kind.BATCH_COMPLETED, f"BATCH_ID={batch}")
    assert len(journal.of(f"JOB_ID={batch}.1", "FLOW=talk")) == 6


def test_the_last_record_is_sent_before_the_daemon_ends(daemon: DaemonService, journal: Journal) -> None:
    daemon.start(flows=FLOWS)
    daemon.stop()
    assert [journal.of(f"MESSAGE_ID={kind}")[0]["PRIORITY"] for kind in (Kind.STARTED, Kind.STOPPED)] == [
        "6",
        "6",
    ]
