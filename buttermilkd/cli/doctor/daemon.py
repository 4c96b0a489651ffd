"""What the daemon says of itself."""

from collections.abc import Iterator

from buttermilkd import __version__
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.client import Client
from buttermilkd.messages import IdleView, StatusView


def examine(client: Client) -> Iterator[Finding]:
    """Raises ButtermilkError: it does not answer."""
    status = client.status()
    yield good("daemon", f"answers on {client.socket}; {status['sentence']}")
    yield _version(status)
    yield _queue(status)
    verdict = client.idle()
    yield _web_servers(verdict)
    yield _signals(verdict)
    yield _protection(verdict)
    yield from _flows(client)


def _version(status: StatusView) -> Finding:
    detail = f"buttermilkctl {__version__}, daemon {status['version']}"
    if status["version"] == __version__:
        return good("version", detail)
    return bad("version", detail, "restart the daemon: systemctl restart buttermilkd")


def _queue(status: StatusView) -> Finding:
    queue = status["queue"]
    detail = f"{queue['kind']}, {queue['pending']:,} pending, {queue['running']:,} running"
    if trouble := queue.get("trouble"):
        return bad("queue", f"{detail}: {trouble}", "see buttermilkd --check-queue")
    paused = status.get("paused") or []
    waiting = "everything is" if "*" in paused else ", ".join(paused)
    better = f"paused: {waiting} (buttermilkctl resume)" if paused else None
    return good("queue", detail, better)


def _web_servers(verdict: IdleView) -> Finding:
    """Whether they report what their users do. That none does is no fault: there may be none."""
    reports = next((one for one in verdict["signals"] if one["name"] == "reporters"), None)
    detail = reports["reason"] or reports["value"] if reports else "not told"
    if reports is not None and reports["state"] == "unknown":
        return bad("web servers", detail, "see what the web server sends, or whether it hangs")
    return good("web servers", detail)


def _signals(verdict: IdleView) -> Finding:
    """Which signals idleness is decided on; what a machine does not tell is left out."""
    told = [one["name"] for one in verdict["signals"] if one["state"] != "missing"]
    missing = [f"{one['name']} ({one['value']})" for one in verdict["signals"] if one["state"] == "missing"]
    detail = ", ".join(told) or "none"
    return good(
        "idle signals", detail, f"not told by this machine: {', '.join(missing)}" if missing else None
    )


def _protection(verdict: IdleView) -> Finding:
    """That it is not proven is no fault: jobs stop then that otherwise would go on."""
    protection, suspending = verdict["protection"], verdict["suspending"]
    if protection["proven"]:
        return good("protection", f"idle priority is proven to protect web servers: {protection['why']}")
    detail = f"not proven, so jobs of flows with on_busy = auto stand still while people are there: {protection['why']}"
    if suspending["method"] == "freezer":
        return good("protection", detail)
    better = (
        f"no control groups for jobs: {suspending['why']}; run it as a service: buttermilkctl service install"
    )
    return good("protection", detail, better)


def _flows(client: Client) -> Iterator[Finding]:
    flows = client.flows()["flows"]
    if not flows:
        yield bad("flows", "none is configured", "add a [flows.NAME] to the configuration")
    for flow in flows:
        if flow["can_run"]:
            yield good(f"flow {flow['name']}", flow["runs"])
        else:
            mend = "correct the flow or install what it needs; then reload: systemctl reload buttermilkd"
            yield bad(f"flow {flow['name']}", flow["problem"] or flow["runs"], mend)
