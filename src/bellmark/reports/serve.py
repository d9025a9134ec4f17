"""The server of the live pages: a handful of routes on starlette, run by uvicorn; it only ever reads.

It listens on this machine alone unless told otherwise. Events tell a page that it has been made anew; the page then
asks for itself again and exchanges what differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from bellmark.errors import UserError
from bellmark.reports.frame import Live, fill
from bellmark.reports.site import HOME, Site

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOK_SECONDS = 1.0  # between two looks at the folders, while a page is open
SHARE = 0.25  # of its time that the server may spend on looking, however large the folder
KEEP_ALIVE_SECONDS = 15.0
LOCAL = ("127.0.0.1", "localhost", "::1")

log = logging.getLogger(__name__)


class Watch:
    """Looks at the folders again and again while anybody reads, and rests while nobody does."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.closing: Callable[[], bool] = lambda: False  # set by who runs the server, so that open streams end with it
        self._readers = 0
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Somebody opened a page."""
        self._asked.set()

    @contextlib.contextmanager
    def reader(self) -> Any:
        """While somebody follows a page."""
        self._readers += 1
        self.ask()
        try:
            yield
        finally:
            self._readers -= 1

    async def run(self) -> None:
        """Until cancelled. A fault of ours is told in the log, and the next change tried again."""
        while True:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self.site.look)
            except UserError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("a page could not be made")
            spent = time.monotonic() - began
            await asyncio.sleep(max(LOOK_SECONDS, spent * (1 - SHARE) / SHARE))
            if not self._readers:
                self._asked.clear()
                await self._asked.wait()


def application(site: Site, *, hosts: list[str] | None = None) -> Starlette:
    """The web application.

    Args:
        hosts: names by which it may be addressed, so that no page from elsewhere can reach it under a name of its own;
            None: any.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    watch = Watch(site)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        yield
        task.cancel()

    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)] if hosts else []
    app = Starlette(
        routes=[
            Route("/", _page(watch, lambda request: HOME)),
            Route("/sweep/{name}", _page(watch, lambda request: str(request.path_params["name"]))),
            Route("/events", _events(watch)),
            Route("/data/run", _run(site)),
            Route("/data/video", _video(site)),
        ],
        middleware=[*guards, Middleware(GZipMiddleware, minimum_size=20_000, compresslevel=1)],
        lifespan=lifespan,
    )
    app.state.watch = watch
    return app


def _page(watch: Watch, name_of: Callable[[Request], str]) -> Any:
    async def page(request: Request) -> Response:
        from starlette.responses import HTMLResponse

        watch.ask()
        name = name_of(request)
        found = watch.site.served(name)
        if found:
            return HTMLResponse(found.html, headers={"cache-control": "no-cache"})
        base = "../" if name else "./"
        expected = watch.site.expects(name)
        words = "Reading the records; the page opens by itself." if expected else f"There is no sweep {name!r} here."
        context = {"name": name or str(watch.site.root), "words": words}
        html = fill("waiting.html", context, documents={}, live=Live(base, name, "0"), share=False)
        return HTMLResponse(html, status_code=200 if expected else 404)

    return page


def _events(watch: Watch) -> Any:
    async def events(request: Request) -> Response:
        from starlette.responses import StreamingResponse

        name, since = request.query_params.get("page", HOME), _whole(request.query_params.get("since"))
        since = _whole(request.headers.get("last-event-id")) or since
        stream = _stream(watch, name, since)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})

    return events


async def _stream(watch: Watch, name: str, since: int) -> AsyncIterator[str]:
    """An event whenever the page has been made anew, a comment now and then so that a lost reader is noticed."""
    with watch.reader():
        yield ": hello\n\n"
        said = time.monotonic()
        while not watch.closing():
            found = watch.site.served(name)
            if found and found.revision != since:
                since = found.revision
                yield f"id: {since}\ndata: {since}\n\n"
                said = time.monotonic()
            elif time.monotonic() - said > KEEP_ALIVE_SECONDS:
                yield ": still here\n\n"
                said = time.monotonic()
            await asyncio.sleep(0.2)


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _run(site: Site) -> Any:
    def run(request: Request) -> Response:
        from starlette.responses import PlainTextResponse, Response

        name = request.query_params.get("name", "")
        try:
            found = site.document(name)
        except UserError as error:
            return PlainTextResponse(str(error), status_code=409)
        if found is None:
            return PlainTextResponse(f"no run {name!r}", status_code=404)
        return Response(json.dumps(found, allow_nan=False), media_type="application/json")

    return run


def _video(site: Site) -> Any:
    def video(request: Request) -> Response:
        from starlette.responses import FileResponse, PlainTextResponse

        found = site.video(request.query_params.get("name", ""), request.query_params.get("file", ""))
        if found is None:
            return PlainTextResponse("no such video", status_code=404)
        return FileResponse(found[0], media_type=found[1])

    return video


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free.

    Raises:
        UserError: the port is taken, or the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror}; --port 0 takes any free one") from None
    return found


def serve(site: Site, listening: socket.socket, *, local: bool) -> None:
    """Serve until interrupted."""
    hosts = [name if ":" not in name else f"[{name}]" for name in LOCAL] if local else None
    server_of(application(site, hosts=hosts)).run(sockets=[listening])


def server_of(app: Starlette) -> uvicorn.Server:
    """A server that ends open streams when it is told to end."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5, access_log=False))
    app.state.watch.closing = lambda: server.should_exit
    return server
