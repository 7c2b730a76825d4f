"""The ranking page's server: static files for everybody, items for whoever has a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..conversation import question_as_row
from ..jsonl import BadData
from .access import ACCESS, Access, read_access
from .headers import SecurityHeaders
from .messages import Draft, Submission
from .overview import overview
from .ranking import Assignment
from .store import LabelStore

PAGE = Path(__file__).parent / "page"
MAX_BODY_BYTES = 64 * 1024

Message = TypeVar("Message", Draft, Submission)


class LabelServer:
    """The handlers of one directory; what they keep is in the store, so that a killed server loses nothing."""

    def __init__(self, store: LabelStore, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._lock = threading.Lock()
        self._read_at: int | None = None
        self._access = read_access(directory)

    def app(self) -> Starlette:
        routes = [
            Route("/", _page("ranking.html")),
            Route("/owner", _page("owner.html")),
            Route("/healthz", _healthy),
            Route("/api/item", self._item),
            Route("/api/draft", self._draft, methods=["PUT"]),
            Route("/api/ranking", self._ranking, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
            Route("/api/overview", self._overview),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(SecurityHeaders)],
            exception_handlers={HTTPException: _refused, BadData: _bad_data},
            max_body_size=MAX_BODY_BYTES,
        )

    async def _item(self, request: Request) -> Response:
        ranker = self._ranker(request)
        return await run_in_threadpool(self._state, ranker)

    async def _draft(self, request: Request) -> Response:
        ranker = self._ranker(request)
        message = await _read(request, Draft)

        def keep() -> Response:
            self._store.keep_draft(self._assigned(ranker, message.assignment), json.dumps(message.draft))
            return Response(status_code=204)

        return await run_in_threadpool(keep)

    async def _ranking(self, request: Request) -> Response:
        ranker = self._ranker(request)
        message = await _read(request, Submission)

        def keep() -> Response:
            assignment = self._assigned(ranker, message.assignment)
            if message.draft is not None:  # what undoing shows again
                self._store.keep_draft(assignment, json.dumps(message.draft))
            self._store.submit(assignment, message.ranks, message.flags, message.seconds, message.cannot_judge)
            return self._state(ranker)

        return await run_in_threadpool(keep)

    async def _undo(self, request: Request) -> Response:
        ranker = self._ranker(request)

        def undo() -> Response:
            if self._store.undo(ranker) is None:
                raise HTTPException(409, "nothing is left to undo")
            return self._state(ranker)

        return await run_in_threadpool(undo)

    async def _overview(self, request: Request) -> Response:
        access = self._current_access()
        if not access.is_owner(_token(request)):
            raise HTTPException(401, "this link is not the owner's")
        return JSONResponse(asdict(await run_in_threadpool(overview, self._store, list(access.rankers))))

    def _state(self, ranker: str) -> Response:
        """Everything that the page needs to go on, after whatever was done."""
        assignment, progress = self._store.next(ranker), self._store.progress(ranker)
        shown = None if assignment is None else _shown(assignment)
        return JSONResponse({"ranker": ranker, "assignment": shown, "done": progress.done, "left": progress.left})

    def _assigned(self, ranker: str, number: int) -> Assignment:
        assignment = self._store.assigned(ranker, number)
        if assignment is None:
            raise HTTPException(409, "this item is not open any more: it was ranked in another window")
        return assignment

    def _ranker(self, request: Request) -> str:
        ranker = self._current_access().ranker(_token(request))
        if ranker is None:
            raise HTTPException(401, "this link is not valid; ask for a new one")
        return ranker

    def _current_access(self) -> Access:
        """As the file has it now: tokens come and go while the server runs."""
        changed_at = (self._directory / ACCESS).stat().st_mtime_ns
        with self._lock:
            if changed_at != self._read_at:
                self._access, self._read_at = read_access(self._directory), changed_at
            return self._access


def _shown(assignment: Assignment) -> dict[str, Any]:
    """What a ranker may know of an item: nothing of its id, nor of where its answers come from."""
    return {
        "id": assignment.id,
        "question": question_as_row(assignment.question),
        "answers": list(assignment.answers),
        "draft": json.loads(assignment.draft) if assignment.draft else None,
    }


def _page(name: str) -> Callable[[Request], FileResponse]:
    return lambda _: FileResponse(PAGE / name)


def _healthy(_: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _read(request: Request, kind: type[Message]) -> Message:
    try:
        return kind.model_validate_json(await request.body(), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise HTTPException(422, f"{place}: {first['msg']}") from error


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def _bad_data(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the ranking {error}"}, 422)
