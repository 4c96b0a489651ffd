"""The settings of how it is known what people do: web servers that report, and those that are looked at from outside."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, PlainValidator

from buttermilkd.config.values import FileMode, PositiveDuration, duration, file_mode, refusal, text

_LAST_PORT = 65535


def http_url(value: object) -> str:
    """An address of HTTP on a named host."""
    wanted = 'an address such as "http://127.0.0.1:8080/nginx_status"'
    try:
        parts = urlsplit(text(value))
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise refusal(wanted, value) from None
    if not is_http:
        raise refusal(wanted, value)
    return str(value)


def port_numbers(value: object) -> tuple[int, ...]:
    """A port, or a list of several."""
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _LAST_PORT:
            raise refusal(f"a port from 1 to {_LAST_PORT}, or a list such as [8888, 8889]", value)
    if not numbers:
        raise ValueError("must not be empty")
    return tuple(numbers)


class NginxSettings(BaseModel):
    """An nginx that is asked what it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stub_status: Annotated[str, PlainValidator(http_url)] | None = None
    """Where its module ``stub_status`` answers."""


class ActivitySettings(BaseModel):
    """The socket on which web servers report what their users do, and what is looked at besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    socket_mode: FileMode = file_mode("0666")
    probe_every: PositiveDuration = duration("2s")
    """Seconds between two looks at what does not report by itself."""
    nginx: NginxSettings = NginxSettings()
    ports: dict[str, Annotated[tuple[int, ...], PlainValidator(port_numbers)]] = {}
    """Ports of this machine, by a name for people: whoever is connected to one of them counts as a user."""
