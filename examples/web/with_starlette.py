"""Starlette that reports its users: ``gunicorn -k uvicorn_worker.UvicornWorker with_starlette:app``."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from buttermilkd.web.asgi import ActivityMiddleware


async def hello(_request: Request) -> JSONResponse:
    return JSONResponse({"hello": "world"})


async def upload(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[
        Route("/", hello),
        Route("/healthz", hello),
        Route("/upload", upload, methods=["POST"]),
        WebSocketRoute("/chat", chat),
    ],
    middleware=[Middleware(ActivityMiddleware, exclude=["/healthz"], app="api")],
)
