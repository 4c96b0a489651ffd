"""``status``: the daemon, a batch or a job."""

import click

from buttermilkd import __version__
from buttermilkd.cli.identifiers import complete_ids
from buttermilkd.cli.output import cut, print_json, shown, status_of, status_word, visible
from buttermilkd.cli.progress import counts, done, follow, has_ended, outlook, percent
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.times import ago, between, span
from buttermilkd.messages import BatchView, JobView, ReporterView, StatusView
from buttermilkd.plurals import count


@click.command(short_help="Show the daemon, a batch or a job.")
@click.argument("item", metavar="[BATCH|JOB]", required=False, shell_complete=complete_ids)
@click.option("--follow", "follows", is_flag=True, help="Show a batch's progress until it has ended.")
@common_options
@click.pass_obj
def status(session: Session, item: str | None, *, follows: bool) -> None:
    """Show a batch or a job or, without an id, the daemon: idle, or why not."""
    client = session.client()
    is_batch = item is not None and "." not in item
    if follows and not is_batch:
        raise click.UsageError("--follow takes the id of a batch")
    if item is None:
        daemon = client.status()
        print_json(daemon) if session.json else _print_daemon(session, daemon)
    elif is_batch:
        batch = follow(session, client, item) if follows else client.batch(item)
        print_json(batch) if session.json else _print_batch(session, batch)
    else:
        job = client.job(item)
        print_json(job) if session.json else _print_job(session, job)


def _print_daemon(session: Session, daemon: StatusView) -> None:
    color = "green" if daemon["idle"] else "yellow"
    session.say(f"{click.style('●', fg=color)} {visible(daemon['sentence'])}")
    paused = ", ".join(name for name in daemon["paused"] if name != "*")
    if "*" in daemon["paused"]:
        session.say("  paused: every flow (buttermilkctl resume)")
    elif paused:
        session.say(f"  paused: {paused}")
    queue = daemon["queue"]
    session.say(f"  queue: {queue['kind']}, {queue['pending']:,} pending, {queue['running']:,} running")
    _print_troubles(session, daemon)
    session.say(f"  running: {len(daemon['running'])} of {daemon['concurrency']} at once")
    for job in daemon["running"]:
        took = between(job["started_at"], None)
        state = f", suspended for {between(job['suspended_at'], None)}" if job.get("suspended_at") else ""
        session.say(f"    {job['job_id']}  {job['flow']}  {visible(job['record_id'])}  for {took}{state}")
    if not daemon["reporters"]:
        session.say("  web servers: none reports its activity")
    for reporter in daemon["reporters"]:
        session.say(f"  web server {_reporter(reporter)}")
    session.say(
        f"  buttermilkd {daemon['version']} on {daemon['host']}, pid {daemon['pid']}, "
        f"up {between(daemon['started_at'], None)}"
    )
    if daemon["version"] != __version__:
        session.note(
            f"buttermilkctl is version {__version__} and the daemon {daemon['version']}: restart it after an update"
        )


def _print_troubles(session: Session, daemon: StatusView) -> None:
    """What somebody has to mend; a daemon of an older version tells of less."""
    troubles = {
        "queue": daemon["queue"].get("trouble"),
        "jobs": (problem := daemon.get("launcher_problem")) and f"cannot be started: {problem}",
        "configuration": (problem := daemon.get("config_problem")) and f"not reloaded: {problem}",
    }
    for subject, trouble in troubles.items():
        if trouble:
            session.say(f"  {click.style(subject, fg='red')}: {visible(trouble)}")
    if waiting := daemon.get("needs_restart"):
        session.say(f"  configuration: needs a restart: {', '.join(waiting)}")


def _reporter(reporter: ReporterView) -> str:
    pid = f" (pid {reporter['pid']})" if reporter["pid"] is not None else ""
    silent = "; silent, so taken for busy" if reporter["stale"] else ""
    return (
        f"{visible(reporter['app'])}{pid}: {count(reporter['requests'], 'request')} in flight, "
        f"{count(reporter['websockets'], 'websocket')}, last active {span(reporter['idle_seconds'])} ago{silent}"
    )


def _print_batch(session: Session, batch: BatchView) -> None:
    title = click.style(batch["batch_id"], bold=True)
    session.say(f"{title}  {batch['flow']}  {status_word(batch['status'])}")
    ended = count(batch["total"], "job has ended", "jobs have ended")
    session.say(f"  {done(batch):,} of {ended} ({percent(batch)} %): {counts(batch)}")
    times = [f"created {ago(batch['created_at'])}"]
    if batch["started_at"]:
        verb = "took" if has_ended(batch) else "has run for"
        times.append(f"{verb} {between(batch['started_at'], batch['ended_at'])}")
    session.say(f"  {', '.join(times)}")
    if sentence := outlook(batch):
        session.say(f"  {sentence}")
    if batch["seed"] is not None:
        session.say(f"  shuffled with seed {batch['seed']}")
    if batch["duplicates"]:
        twice = count(batch["duplicates"], "record was", "records were")
        session.say(f"  {twice} given more than once, and dropped")
    for cause in batch.get("causes", []):
        session.say(f"  {cause['jobs']:,} failed: {visible(cause['cause'])}")
    if batch["failed"]:
        session.advise(f"what failed: buttermilkctl jobs {batch['batch_id']} --status failed")


def _print_job(session: Session, job: JobView) -> None:
    title = click.style(job["job_id"], bold=True)
    session.say(f"{title}  {job['flow']}  {status_word(status_of(job))}")
    session.say(f"  record: {cut(job['record_id'])}")
    if job["parameters"]:
        session.say(f"  parameters: {shown(job['parameters'])}")
    session.say(f"  attempt {job['attempt']}{_extras(job)}")
    if job["started_at"]:
        host = f" on {job['host']}" if job["host"] else ""
        took = f", took {between(job['started_at'], job['ended_at'])}" if job["ended_at"] else ""
        session.say(f"  started {ago(job['started_at'])}{took}{host}")
    if suspended_at := job.get("suspended_at"):
        session.say(f"  suspended {ago(suspended_at)}")
    if job["due_at"] and job["status"] == "pending":
        session.say(f"  not before {job['due_at']}")
    if job["error"]:
        session.say(f"  error: {cut(job['error'])}")
        session.advise(f"what it printed: buttermilkctl logs {job['job_id']}")
    if job["result"] is not None:
        session.say(f"  result: {shown(job['result'])}")


def _extras(job: JobView) -> str:
    numbers = {
        "interruption": job.get("interruptions"),
        "deferral": job.get("deferrals"),
        "disturbance": job.get("disturbances"),
    }
    words = [count(number, noun) for noun, number in numbers.items() if number]
    return f" ({', '.join(words)})" if words else ""
