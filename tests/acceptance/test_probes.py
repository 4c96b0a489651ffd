"""Servers that report nothing, looked at by the real daemon."""

import socket

from tests.acceptance.program import Daemon, until
from tests.integration.nginx import nginx

HELLO = '[flows.hello]\ncommand = ["echo", "hello"]'


def test_who_is_connected_to_a_port_keeps_jobs_from_running_and_the_reason_names_it(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = listener.getsockname()
        ports = f'[activity]\nprobe_every = "100ms"\n[activity.ports]\njupyter = {here[1]}'
        daemon.write(f"{ports}\n{HELLO}")
        with socket.create_connection(here):
            daemon.start()
            until(lambda: daemon.client.idle()["cause"] == "probes", "the gate's closing")
            assert "busy: 1 connection to jupyter" in daemon.client.status()["sentence"]
            batch = daemon.client.create("hello", records=["r"]).batch_id
            assert "1 connection to jupyter" in (daemon.client.batch(batch)["waiting_for"] or "")
        assert daemon.ended(batch)["completed"] == 1


def test_an_nginx_that_answers_leaves_jobs_alone_and_one_that_does_not_keeps_them(daemon: Daemon) -> None:
    with nginx(daemon.folder) as server:
        status = f'[activity]\nprobe_every = "100ms"\n[activity.nginx]\nstub_status = "{server.status}"'
        daemon.write(f"{status}\n{HELLO}")
        daemon.start()
        batch = daemon.client.create("hello", records=["r"]).batch_id
        assert daemon.ended(batch)["completed"] == 1
        server.get()
        until(lambda: daemon.client.idle()["cause"] == "probes", "the gate's closing")
        assert "last request at nginx" in daemon.client.status()["sentence"]
    until(lambda: "users of nginx do is not known" in daemon.client.status()["sentence"], "the loss of nginx")
