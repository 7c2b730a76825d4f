"""The trace and logging extensions of KServe v2.

Nothing here traces, so trace settings are what they are on a Triton that was started without a trace file:
numbers that may be read and changed, and a level that stays OFF. Log settings set the level of our logger.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest, PermissionDenied, Unimplemented

LOGGER = "rewardplane"

Values = dict[str, tuple[str, ...]]

TRACE_DEFAULTS: Values = {
    "trace_file": ("",),
    "trace_level": ("OFF",),
    "trace_rate": ("1000",),
    "trace_count": ("-1",),
    "log_frequency": ("0",),
    "trace_mode": ("triton",),
}
TRACE_LEAST = {"trace_rate": 0, "trace_count": -1, "log_frequency": 0}

LOG_LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
"""From the most talkative on: whoever wants one of them gets those after it."""


class TraceSettings:
    """Global settings, and those of the model where it has its own."""

    def __init__(self) -> None:
        self._global: Values = dict(TRACE_DEFAULTS)
        self._of_model: Values = {}

    def update(self, request: Any, model_name: str) -> Any:
        """Answers a TraceSettingRequest. Raises InvalidRequest or Unimplemented, and then changes nothing."""
        if request.model_name and request.model_name != model_name:
            raise InvalidRequest(f"Request for unknown model : {request.model_name}", reason="UNKNOWN_MODEL")
        changes = {key: tuple(setting.value) for key, setting in request.settings.items()}
        for key, values in changes.items():
            _check_trace(key, values)
        target = self._of_model if request.model_name else self._global
        for key, values in changes.items():
            if not values:  # an empty list clears: the model falls back to the global value
                target.pop(key, None)
            elif key in TRACE_LEAST:
                target[key] = values
        current = {**TRACE_DEFAULTS, **self._global, **(self._of_model if request.model_name else {})}
        response = service_pb2.TraceSettingResponse()
        for key, values in current.items():
            response.settings[key].value.extend(values)
        return response


def _check_trace(key: str, values: Sequence[str]) -> None:
    if not values:
        return
    if key == "trace_file":
        raise Unimplemented("trace file location can not be updated through network protocol", reason="NOT_SUPPORTED")
    if key == "trace_level" and set(values) != {"OFF"}:
        raise InvalidRequest(
            "Attempting to set invalid trace setting :trace file name is not given; nothing is traced here",
            reason="INVALID_SETTING",
        )
    if key in TRACE_LEAST:
        if len(values) != 1:
            raise InvalidRequest(f"expect only 1 value for '{key}'", reason="INVALID_SETTING")
        try:
            number = int(values[0])
        except ValueError:
            raise InvalidRequest(f"Unable to parse '{key}', got: {values[0]}", reason="INVALID_SETTING") from None
        if number < TRACE_LEAST[key]:
            raise InvalidRequest(
                f"Unable to parse '{key}'. Expecting value >= {TRACE_LEAST[key]}, got: {number}",
                reason="INVALID_SETTING",
            )


class LogSettings:
    """The level of our logger in Triton's terms."""

    def __init__(self) -> None:
        level = logging.getLogger(LOGGER).getEffectiveLevel()
        self._enabled = {name: level <= threshold for name, threshold in LOG_LEVELS.items()}
        self._verbose = int(level <= logging.DEBUG)

    def update(self, request: Any, *, peer_is_local: bool) -> Any:
        """Answers a LogSettingsRequest. Raises InvalidRequest, Unimplemented or PermissionDenied, and then
        changes nothing."""
        if request.settings:
            if not peer_is_local:
                raise PermissionDenied(
                    "log settings are changed from the server's own machine only", reason="NOT_LOCAL"
                )
            enabled, verbose = _read_log(request.settings, self._enabled, self._verbose)
            self._enabled, self._verbose = enabled, verbose
            logging.getLogger(LOGGER).setLevel(_level(enabled, verbose))
        response = service_pb2.LogSettingsResponse()
        for name, on in self._enabled.items():
            response.settings[name].bool_param = on
        response.settings["log_verbose_level"].uint32_param = self._verbose
        response.settings["log_format"].string_param = "default"
        response.settings["log_file"].string_param = ""
        return response


def _read_log(settings: Mapping[str, Any], enabled: Mapping[str, bool], verbose: int) -> tuple[dict[str, bool], int]:
    enabled = dict(enabled)
    for name, setting in settings.items():
        kind = setting.WhichOneof("parameter_choice")
        if name in enabled:
            if kind != "bool_param":
                raise InvalidRequest(f"expect boolean for '{name}'", reason="INVALID_SETTING")
            enabled[name] = setting.bool_param
        elif name == "log_verbose_level":
            if kind != "uint32_param":
                raise InvalidRequest(f"expect int32 for '{name}'", reason="INVALID_SETTING")
            verbose = setting.uint32_param
        elif name == "log_format" and setting.string_param != "default":
            raise InvalidRequest(
                f"invalid argument for log_format, got: {setting.string_param}", reason="INVALID_SETTING"
            )
        elif name == "log_file":
            raise Unimplemented("log file location can not be updated through network protocol", reason="NOT_SUPPORTED")
    talkative = list(enabled.values())
    if talkative != sorted(talkative):
        raise InvalidRequest(
            "this server logs by level: log_error cannot be off while log_warning is on, nor log_warning "
            "while log_info is on",
            reason="INVALID_SETTING",
        )
    return dict(enabled), verbose


def _level(enabled: Mapping[str, bool], verbose: int) -> int:
    if verbose:
        return logging.DEBUG
    return next((LOG_LEVELS[name] for name, on in enabled.items() if on), logging.CRITICAL)


def is_local(peer: str) -> bool:
    """Whether a gRPC peer ("ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000", "unix:...") is on this machine.

    Only the loopback address itself counts: a service mesh's sidecar hands over calls from elsewhere as
    127.0.0.6.
    """
    return peer.startswith(("ipv4:127.0.0.1:", "ipv6:[::1]:", "ipv6:%5B::1%5D:", "unix:"))
