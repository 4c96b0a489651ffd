"""Django that reports its users: ``gunicorn with_django:wsgi`` or ``uvicorn with_django:asgi``.

In a project of several files, the last lines belong into its ``wsgi.py`` and ``asgi.py``.
"""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from buttermilkd.web.asgi import ActivityMiddleware as AsgiActivity
from buttermilkd.web.wsgi import ActivityMiddleware as WsgiActivity

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="an example")


def hello(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"hello": "world"})


def upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"bytes": len(request.body)})


urlpatterns = [path("", hello), path("healthz", hello), path("upload", upload)]

wsgi = WsgiActivity(get_wsgi_application(), exclude=["/healthz"], app="site")
asgi = AsgiActivity(get_asgi_application(), exclude=["/healthz"], app="site")
