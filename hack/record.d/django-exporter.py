"""Django, by django-prometheus as its guide has it."""
import shop

shop.about("django-prometheus", "Django")

from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path


class Silent(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def answer(request):
    return HttpResponse(status=shop.answer(request.path))


urlpatterns = [path(it.lstrip("/"), answer) for it in shop.PATHS] + [path("", include("django_prometheus.urls"))]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="no secret",
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["django_prometheus"],
    MIDDLEWARE=[
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ],
)
make_server("127.0.0.1", shop.PORT, get_wsgi_application(), handler_class=Silent).serve_forever()
