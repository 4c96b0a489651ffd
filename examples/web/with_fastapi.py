"""FastAPI that reports its users: ``uvicorn with_fastapi:app --workers 4``."""

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect

from buttermilkd.web.asgi import ActivityMiddleware

app = FastAPI()
app.add_middleware(ActivityMiddleware, exclude=["/healthz", "/static/*"], app="api")


@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"ok": True}


@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


@app.websocket("/chat")
async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        """The user has gone."""
