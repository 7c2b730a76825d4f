"""The model repository: an index of the one served model, which nobody loads or unloads through KServe v2."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2

from rewardplane.errors import Unavailable, Unimplemented

from ..engine import Engine
from .signature import kserve_version


def index(request: Any, engine: Engine) -> Any:
    """Answers a RepositoryIndexRequest. Raises Unimplemented for a named repository, as Triton does."""
    _check_repository(request)
    response = service_pb2.RepositoryIndexResponse()
    state, reason, version = _state(engine)
    if state == "READY" or not request.ready:
        response.models.add(name=engine.name, version=version, state=state, reason=reason)
    return response


def refuse(request: Any, engine: Engine) -> None:
    """Answers RepositoryModelLoad and -Unload, as a Triton whose models are not under explicit control.

    Raises Unimplemented: Triton says UNAVAILABLE, which would make careful clients try again for ever.
    """
    _check_repository(request)
    raise Unimplemented(
        f"explicit model load / unload is not allowed: this server is for '{engine.name}' alone. "
        "Start another server for another model",
        reason="EXPLICIT_LOAD_NOT_ALLOWED",
    )


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise Unimplemented("'repository_name' specification is not supported", reason="NOT_SUPPORTED")


def _state(engine: Engine) -> tuple[str, str, str]:
    """(state, reason, version) in the words of Triton's index."""
    try:
        version = kserve_version(engine.model_version())
    except Unavailable as error:
        return "LOADING", error.message, ""
    if engine.ready:
        return "READY", "", version
    return "UNLOADING", "the server is draining", version
