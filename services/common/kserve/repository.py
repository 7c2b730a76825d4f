"""The model repository: one model, which callers may load and unload where the server's flags allow it."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest, Unimplemented

from .. import faults
from ..engine import Engine
from ..model_control import ModelControl
from .parameters import typed_value
from .signature import kserve_version


class Repository:
    """Answers what Triton's model repository extension asks."""

    def __init__(self, engine: Engine, control: ModelControl | None) -> None:
        self._engine = engine
        self._control = control

    @property
    def explicit(self) -> bool:
        """Whether callers may load and unload."""
        return self._control is not None

    @property
    def server_is_ready(self) -> bool:
        """As Triton: a model that is unloaded, and no longer unloading, is no reason not to be."""
        return self._engine.ready or _state(self._engine)[0] == "UNAVAILABLE"

    def index(self, request: Any) -> Any:
        """Answers a RepositoryIndexRequest. Raises Unimplemented for a named repository, as Triton does."""
        _check_repository(request)
        response = service_pb2.RepositoryIndexResponse()
        state, reason, version = _state(self._engine)
        if state == "READY" or not request.ready:
            response.models.add(name=self._engine.name, version=version, state=state, reason=reason)
        return response

    async def load(self, request: Any) -> Any:
        """Answers a RepositoryModelLoadRequest when the model serves. Raises what `ModelControl.load` does."""
        _check_repository(request)
        control = self._allowed()
        for key, parameter in request.parameters.items():
            _refuse_load_parameter(key, parameter)
        if request.model_name != self._engine.name:
            raise faults.nothing_to_load(request.model_name, f"this server is for '{self._engine.name}' alone")
        await control.load()
        return service_pb2.RepositoryModelLoadResponse()

    async def unload(self, request: Any) -> Any:
        """Answers a RepositoryModelUnloadRequest at once. A model that is not here is not loaded: no error."""
        _check_repository(request)
        control = self._allowed()
        if "unload_dependents" in request.parameters:  # nothing depends on the one model
            typed_value("unload_dependents", request.parameters["unload_dependents"], ("bool_param",))
        if request.model_name == self._engine.name:
            await control.unload()
        return service_pb2.RepositoryModelUnloadResponse()

    def _allowed(self) -> ModelControl:
        """Raises Unimplemented: Triton says UNAVAILABLE, which would make careful clients try again for ever."""
        if self._control is None:
            raise Unimplemented(
                f"explicit model load / unload is not allowed: '{self._engine.name}' is served without "
                "--model-control-mode explicit",
                reason="EXPLICIT_LOAD_NOT_ALLOWED",
            )
        return self._control


def _refuse_load_parameter(key: str, parameter: Any) -> None:
    """Raises Unimplemented for what a Triton takes, InvalidRequest for what it does not either."""
    kind = {"config": "string_param"}.get(key, "bytes_param" if key.startswith("file:") else None)
    if kind is None:
        raise InvalidRequest(f"unrecognized load parameter '{key}'.", reason="INVALID_PARAMETER")
    if parameter.WhichOneof("parameter_choice") != kind:
        raise InvalidRequest(
            f"invalid value type for load parameter '{key}', expected {kind}.", reason="INVALID_PARAMETER"
        )
    raise Unimplemented(
        f"load parameter '{key}' is not supported: a model is what its checkpoint and the server's flags say",
        reason="NOT_SUPPORTED",
    )


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise Unimplemented("'repository_name' specification is not supported", reason="NOT_SUPPORTED")


def _state(engine: Engine) -> tuple[str, str, str]:
    """(state, reason, version) in the words of Triton's index."""
    version = kserve_version(engine.last_version) if engine.last_version else ""
    if engine.ready:
        return "READY", "", version
    if engine.unloaded:
        return ("UNLOADING", "", version) if engine.has_model else ("UNAVAILABLE", "unloaded", version)
    if engine.has_model:
        return "UNLOADING", "the server is draining", version
    return "LOADING", engine.why_not_ready().message, version
