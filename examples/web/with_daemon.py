"""FastAPI with a daemon beside it, and batches from its handlers: ``uvicorn with_daemon:app``."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException

from buttermilkd.client import AsyncClient
from buttermilkd.errors import ButtermilkError
from buttermilkd.web.asgi import ActivityMiddleware
from buttermilkd.web.lifespan import alongside

CONFIG = Path(__file__).with_name("buttermilkd.toml")

app = FastAPI(lifespan=alongside(config=CONFIG))
# Who waits for a batch asks how far it is; that must not keep it from running.
app.add_middleware(ActivityMiddleware, exclude=["/batches/*"], app="study")
jobs = AsyncClient(config=CONFIG)


@app.post("/batches")
async def create(records: list[str]) -> dict[str, Any]:
    try:
        created = await jobs.create("count", records=records)
    except ButtermilkError as error:
        raise HTTPException(error.http_status, f"{error}; {error.hint}") from error
    return {"batch_id": created.batch_id, "jobs": created.jobs}


@app.get("/batches/{batch_id}")
async def batch(batch_id: str) -> dict[str, Any]:
    return dict(await jobs.batch(batch_id))


@app.get("/batches/{batch_id}/results")
async def results(batch_id: str) -> list[Any]:
    return [one["result"] async for one in jobs.results(batch_id)]
