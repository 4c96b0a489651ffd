"""aiohttp that reports its users: ``python with_aiohttp.py``."""

from aiohttp import web

from buttermilkd.web.aiohttp import setup


async def hello(_request: web.Request) -> web.Response:
    return web.json_response({"hello": "world"})


async def upload(request: web.Request) -> web.Response:
    return web.json_response({"bytes": len(await request.read())})


async def chat(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(message.data)
    return websocket


app = web.Application()
setup(app, exclude=["/healthz"], app="api")
app.add_routes(
    [web.get("/", hello), web.get("/healthz", hello), web.post("/upload", upload), web.get("/chat", chat)]
)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1")
