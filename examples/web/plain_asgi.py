"""ASGI without a framework: ``uvicorn plain_asgi:app``."""

from typing import Any

from buttermilkd.web.asgi import ActivityMiddleware


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await chat(receive, send)
    elif scope["type"] == "http":
        size = await body_size(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"bytes": %d}' % size})


async def body_size(receive: Any) -> int:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


async def chat(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": message["text"]})


app = ActivityMiddleware(application, exclude=["/healthz"], app="api")
