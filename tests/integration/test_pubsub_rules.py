"""The rules by which the Pub/Sub adapter was built: each was measured on the emulator, or is in the service's own words.

Rules 1 and 2 are in test_pubsub_calls.py, rule 9 is in test_pubsub_resources.py.
"""

import asyncio
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import grpc.aio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import RefreshError, TransportError

from buttermilkd.errors import MisconfiguredError, UnavailableError
from buttermilkd.queues.pubsub.adapter import GoogleBroker
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.queues.pubsub.connection import connected
from buttermilkd.queues.pubsub.google import open_broker
from tests.emulator import Emulator, emulator
from tests.grpc_fake import fake_pubsub
from tests.integration.pubsub_scene import Scene, scene

FORKS = """
import asyncio, os
from buttermilkd.queues.pubsub.google import open_broker

async def main():
    before = dict(os.environ)
    broker = await open_broker("test-forks", None, os.environ)
    assert dict(os.environ) == before, "jobs would inherit it"
    here = broker.connection
    await here.publisher.create_topic(request={"name": here.topic("jobs")})
    await here.subscriber.create_subscription(
        request={"name": here.subscription("jobs-sub"), "topic": here.topic("jobs")}
    )
    pull = asyncio.create_task(broker.pull("jobs-sub", 1, 3))
    for _ in range(100):
        child = await asyncio.create_subprocess_exec("true", preexec_fn=lambda: None)
        assert await child.wait() == 0
    await pull
    await broker.close()

asyncio.run(main())
"""


# 3: leases are short at first, and then as long as we say


async def test_rule_3_what_was_lost_on_its_way_comes_again_and_what_is_extended_does_not(
    shared_emulator: Emulator,
) -> None:
    async with scene(shared_emulator, made=False) as here:
        await here.make_topic()
        await here.make_subscription(lease=2)
        await here.publish("lost", "extended")
        kept = await here.pull(limit=2)
        while len(kept) < 2:
            kept += await here.pull(limit=1)
        await here.broker.extend("jobs-sub", [kept[1].ack_id], 600)

        (again,) = await here.pull()
        assert again.data == kept[0].data
        await here.broker.acknowledge("jobs-sub", [again.ack_id])
        assert await here.pull(patience=4) == []


async def test_rule_3_many_leases_are_extended_by_few_requests_within_the_limits() -> None:
    async with fake_pubsub() as fake, scene(fake) as here:
        ack_ids = [f"{number:0>220}" for number in range(2500)]
        await here.broker.extend("jobs-sub", ack_ids, 300)

        requests = fake.asked("ModifyAckDeadline")
        assert [len(request.ack_ids) for request in requests] == [1000, 1000, 500]
        assert {request.ack_deadline_seconds for request in requests} == {300}
        assert [one for request in requests for one in request.ack_ids] == ack_ids


# 4: forks


def test_rule_4_children_that_are_forked_beside_a_live_client_live(shared_emulator: Emulator) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        env={**environ, **shared_emulator.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# 5: our own channel


async def test_rule_5_messages_of_nearly_10_mb_pass_in_both_directions(shared_emulator: Emulator) -> None:
    async with scene(shared_emulator) as here:
        await here.broker.publish("jobs", [Outgoing(bytes(9_400_000), {})])

        assert [len(message.data) for message in await here.pull()] == [9_400_000]


async def test_rule_5_after_an_outage_it_finds_the_broker_again() -> None:
    with emulator() as own:
        async with scene(own) as here:
            own.kill()
            with pytest.raises(UnavailableError):
                await here.publish("1")
            own.start()
            while not await works(here):
                pass
            await here.make_subscription()
            await here.publish("2")
            assert await here.pulled(1) == ["2"]


async def works(here: Scene) -> bool:
    """Whether the broker can be reached, where that makes the topic."""
    try:
        await here.publish("1")
    except UnavailableError as error:
        if "no such topic" not in str(error):
            return False
        await here.make_topic()
    return True


# 6: credentials


async def test_rule_6_the_loop_goes_on_while_credentials_are_looked_up(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    os.mkfifo(file)  # whoever reads it waits until somebody writes

    opening = asyncio.create_task(open_broker("test-project", file, {}))
    await asyncio.to_thread(file.write_text, json.dumps(service_account()))
    broker = await opening

    assert broker.connection.identity == "daemon@test-project.iam.gserviceaccount.com"
    await broker.close()


def service_account() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": "daemon@test-project.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": "http://127.0.0.1:9/token",
    }


async def test_rule_6_a_revoked_token_is_no_outage_though_grpc_says_so_and_no_network_is_one(
    tmp_path: Path,
) -> None:
    """Real words of gRPC: a real plugin that fails, on a real channel."""
    server = grpc.aio.server()
    address = f"unix:{tmp_path}/pubsub.sock"
    server.add_secure_port(address, grpc.local_server_credentials(grpc.LocalConnectionType.UDS))
    await server.start()
    revoked = RefreshError("invalid_grant: Token has been expired or revoked.", {"error": "invalid_grant"})
    offline = TransportError(
        "HTTPSConnectionPool(host='oauth2.googleapis.com', port=443): Max retries exceeded"
    )
    for failure, kind in ((revoked, MisconfiguredError), (offline, UnavailableError)):
        channel = functools.partial(without_token, address, failure)
        broker = GoogleBroker(connected("test-project", channel, "nobody"))
        with pytest.raises(kind, match=str(failure.args[0])[:12]):
            await broker.pull("jobs-sub", 1, 20)
        await broker.close()
    await server.stop(None)


def without_token(address: str, failure: Exception) -> grpc.aio.Channel:
    class Plugin(grpc.AuthMetadataPlugin):
        def __call__(self, *_: object) -> None:
            raise failure

    local = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    token = grpc.metadata_call_credentials(Plugin())
    return grpc.aio.secure_channel(address, grpc.composite_channel_credentials(local, token))


# 7: to give back is a delivery


async def test_rule_7_a_message_may_be_given_back_ever_so_often(shared_emulator: Emulator) -> None:
    async with scene(shared_emulator) as here:
        await here.publish("1")
        for _ in range(20):
            (message,) = await here.pull()
            await here.broker.extend("jobs-sub", [message.ack_id], 0)

        assert await here.pulled(1) == ["1"]


# 8: duplicates


async def test_rule_8_a_duplicate_is_known_by_its_message_id(shared_emulator: Emulator) -> None:
    async with scene(shared_emulator, made=False) as here:
        await here.make_topic()
        await here.make_subscription(lease=1)
        await here.publish("1")
        (first,) = await here.pull()
        (second,) = await here.pull()

        assert first.message_id == second.message_id
        assert first.published_at == second.published_at
