# SPDX-License-Identifier: Apache-2.0
"""The server: which path is answered by what, and how it starts and ends."""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version as package_version
from typing import Any, TypeVar

from aiohttp import web

from components.server import open_inference, tensorflow_serving
from components.server.analyse import PAGE, PAGE_HEADERS, analyse
from components.server.bodies import write_json
from components.server.config import ServerConfig
from components.server.errors import RequestError
from components.server.limits import BUSY, Limits
from components.server.metrics import Metrics
from components.server.parts import combining
from components.server.request_log import RequestLog
from components.server.trial import ask_one
from components.server.tried_versions import TriedVersions
from components.server.versions import ServedVersion

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNMATCHED = "(none)"
KEEPS_NOTHING = b"which keeps nothing of it"
KEEPS_MEASURES = b"which keeps figures about some recordings, and none of their sound"
KEEPS_AUDIO = b"which keeps some of the recordings, as its operator has told it to"
"""What the page says of the server: it must be true."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Server:
    """The handlers, and what they share."""

    def __init__(self, config: ServerConfig) -> None:
        """Loads the model.

        Raises:
            UserError: there is none that can be loaded.
        """
        self.config = config
        self.metrics = Metrics()
        self.limits = Limits(config, self.metrics)
        self.versions = TriedVersions(config, self.metrics, self.limits)
        self.log = RequestLog(config.log, self.metrics) if config.log else None
        self.in_hand = 0
        """Requests whose answer is not made yet."""
        self.draining = False
        """Whether each answer is its connection's last."""

    def application(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[self._observe, self._refuse])
        app.add_routes(
            [
                web.get("/", self.show_page),
                web.post("/analyse", self.analyse),
                web.get("/metrics", self.show_metrics),
                web.get("/v2", self.v2_server),
                web.get("/v2/health/live", self.v2_health),
                web.get("/v2/health/ready", self.v2_health),
                web.get("/v1/models/{model}", self.v1_status),
                web.get("/v1/models/{model}/versions/{version}", self.v1_status),
                web.get("/v1/models/{model}/metadata", self.v1_metadata),
                web.get("/v1/models/{model}/versions/{version}/metadata", self.v1_metadata),
                web.post("/v1/models/{model}:predict", self.v1_predict),
                web.post("/v1/models/{model}/versions/{version}:predict", self.v1_predict),
            ]
        )
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            app.router.add_get(prefix, self.v2_metadata)
            app.router.add_get(f"{prefix}/ready", self.v2_ready)
            app.router.add_post(f"{prefix}/infer", self.v2_infer)
        return app

    async def show_page(self, request: web.Request) -> web.Response:
        """The page to try the model."""
        page = PAGE.read_bytes()
        if self.log:
            page = page.replace(KEEPS_NOTHING, KEEPS_AUDIO if "audio" in self.log.config.fields else KEEPS_MEASURES)
        return web.Response(body=page, headers={**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"})

    async def analyse(self, request: web.Request) -> web.Response:
        """Who speaks when in the recording that is the request's body."""
        name, longest = request.query.get("name", ""), self.config.max_duration_s
        async with self.limits.body(request, self.config.max_recording_mb) as body:
            served = self._chosen(self.versions.current, request, body)
            answer = await self._answer(request, served, lambda one: analyse(one, body, name, longest))
        return web.Response(body=answer, content_type="application/json")

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Prometheus' text format."""
        return web.Response(body=self.metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def v2_server(self, request: web.Request) -> web.Response:
        """What this server is."""
        return _json(open_inference.server_metadata(package_version("audio-gender")))

    async def v2_health(self, request: web.Request) -> web.Response:
        """A server that answers at all has a model: it loads one before it listens."""
        return web.Response()

    async def v2_metadata(self, request: web.Request) -> web.Response:
        """What a model takes and gives."""
        served, signature = self._asked_v2(request)
        return _json(open_inference.metadata(served, request.match_info["model"], served.signatures[signature]))

    async def v2_ready(self, request: web.Request) -> web.Response:
        """Whether a model answers."""
        self._asked_v2(request)
        return web.Response()

    async def v2_infer(self, request: web.Request) -> web.Response:
        """Inference."""
        self._asked_v2(request)
        name, header = request.match_info["model"], request.headers.get(open_inference.HEADER_LENGTH)
        async with self.limits.body(request, self.config.max_body_mb) as body:
            served, signature = self._asked_v2(request)
            served = self._chosen(served, request, body, signature)
            answer, json_length = await self._answer(
                request, served, lambda one: open_inference.infer(one, name, one.signatures[signature], body, header)
            )
        if json_length is None:
            return web.Response(body=answer, content_type="application/json")
        return web.Response(
            body=answer, content_type="application/octet-stream", headers={open_inference.HEADER_LENGTH: str(json_length)}
        )

    async def v1_status(self, request: web.Request) -> web.Response:
        """Which version answers."""
        return _json(tensorflow_serving.status(self._asked(request, self.config.name)))

    async def v1_metadata(self, request: web.Request) -> web.Response:
        """The signatures."""
        return _json(tensorflow_serving.metadata(self._asked(request, self.config.name), self.config.name))

    async def v1_predict(self, request: web.Request) -> web.Response:
        """Inference."""
        self._asked(request, self.config.name)
        async with self.limits.body(request, self.config.max_body_mb) as body:
            served = self._chosen(self._asked(request, self.config.name), request, body)
            answer = await self._answer(request, served, lambda one: tensorflow_serving.predict(one, body))
        return web.Response(body=answer, content_type="application/json")

    def _chosen(self, served: ServedVersion, request: web.Request, body: bytes, signature: str | None = None) -> ServedVersion:
        """The version that answers this request, which may be a candidate, and of which something may be kept."""
        trial = self.versions.trial
        if trial and trial.present is not served and trial.answers != "everybody":  # it has just ended, or begun
            trial = None
        if not _names_version(request):
            present = self.versions.current
            if trial:
                served = trial.chosen(body, signature)
            elif signature is None or signature in present.signatures:  # it may have been rolled back meanwhile
                served = present
        watched = self.log.watching(served, _route(request)) if self.log else served
        watched = combining(watched, None if _names_version(request) else _naming(request, served.version))
        return trial.watching(watched, body) if trial else watched

    async def _answer(self, request: web.Request, served: ServedVersion, ask: Callable[[ServedVersion], T]) -> T:
        """Asks in a worker. While a new version may keep requests waiting in vain, they have that much longer."""
        trial = self.versions.trial
        work = partial(ask_one, ask, served, _names_version(request))
        return await self.limits.answer(work, trial.more_s if trial else 0.0)

    def _asked(self, request: web.Request, *names: str) -> ServedVersion:
        """The version that a path names, which is the one that answers now.

        Raises:
            RequestError: 404.
        """
        served, model = self.versions.current, request.match_info["model"]
        if model not in names:
            raise RequestError(f"model {model[:100]!r}: unknown; there is {', '.join(names)}", 404)
        version = request.match_info.get("version")
        if version not in (None, str(served.version)):
            raise RequestError(f"version {version[:30]!r}: not the one that answers, which is {served.version}", 404)
        return served

    def _asked_v2(self, request: web.Request) -> tuple[ServedVersion, str]:
        names = {
            open_inference.model_name(self.config.name, signature): signature for signature in self.versions.current.signatures
        }
        return self._asked(request, *names), names[request.match_info["model"]]

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts and times requests by their route: paths themselves would be as many as clients think of."""
        path = _route(request)
        started, status = time.monotonic(), 500
        self.in_hand += 1
        try:
            response = await handler(request)
            status = response.status
            if self.draining:
                response.force_close()
            return response
        finally:
            self.in_hand -= 1
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - started)

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors as one line of JSON, as both protocols have them."""
        try:
            if self.config.host in LOOPBACK and _host(request) not in LOOPBACK:
                # Else a page of the Internet whose name leads here could ask, and read the answer (DNS rebinding).
                raise RequestError(
                    "the Host header does not name this machine; to serve others, start the server with --host", 403
                )
            return await handler(request)
        except RequestError as error:
            return _refused(str(error), error.status)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _refused(f"{request.method} {request.path[:100]}: {error.reason}", error.status)
        except Exception:
            log.exception("%s %s failed", request.method, request.path[:100])
            return _refused("an error in the server; its log has more", 500)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else UNMATCHED


def _names_version(request: web.Request) -> bool:
    return "version" in request.match_info


def _naming(request: web.Request, version: int) -> str:
    """The path of a request, with a version in it."""
    return re.sub(r"(/models/[^/:]*)", rf"\g<1>/versions/{version}", request.path, count=1)


def _host(request: web.Request) -> str:
    return re.sub(r":\d*$", "", request.host).strip("[]")


def _json(value: Any) -> web.Response:
    return web.Response(body=write_json(value), content_type="application/json")


def _refused(line: str, status: int) -> web.Response:
    headers = {"Retry-After": "1"} if status == BUSY else {}
    return web.Response(body=write_json({"error": line}), status=status, content_type="application/json", headers=headers)
