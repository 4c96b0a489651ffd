"""WSGI without a framework: ``gunicorn plain_wsgi:app``."""

from typing import Any

from buttermilkd.web.wsgi import ActivityMiddleware


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"bytes": %d}' % size]


app = ActivityMiddleware(application, exclude=["/healthz"], app="site")
