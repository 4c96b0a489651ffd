"""Flask that reports its users: ``gunicorn --threads 8 with_flask:app``."""

from flask import Flask, request

from buttermilkd.web.wsgi import ActivityMiddleware

app = Flask(__name__)
app.wsgi_app = ActivityMiddleware(app.wsgi_app, exclude=["/healthz"], app="site")


@app.get("/")
@app.get("/healthz")
def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.post("/upload")
def upload() -> dict[str, int]:
    return {"bytes": len(request.get_data())}
