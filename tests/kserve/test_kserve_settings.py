"""Trace and log settings. What is expected of trace settings is what Triton 2.51 without a trace file does."""

from __future__ import annotations

import logging

import pytest
from tritonclient.utils import InferenceServerException

TRACE_DEFAULTS = {
    "trace_file": [""],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}


@pytest.fixture(autouse=True)
def settings_as_before(client):
    ours = logging.getLogger("rewardplane")
    level = ours.level
    ours.setLevel(logging.INFO)
    client.update_log_settings({"log_verbose_level": 0, "log_info": True, "log_warning": True, "log_error": True})
    yield
    client.update_trace_settings(settings=dict.fromkeys(TRACE_DEFAULTS))
    client.update_trace_settings("tiny-rm", dict.fromkeys(TRACE_DEFAULTS))
    ours.setLevel(level)


def trace(response) -> dict[str, list[str]]:
    return {key: list(setting.value) for key, setting in response.settings.items()}


def log(response) -> dict[str, object]:
    return {key: getattr(s, s.WhichOneof("parameter_choice")) for key, s in response.settings.items()}


def test_trace_settings_change_and_clear(client):
    assert trace(client.get_trace_settings()) == TRACE_DEFAULTS
    assert trace(client.update_trace_settings(settings={"trace_rate": "5"})) == {**TRACE_DEFAULTS, "trace_rate": ["5"]}
    assert trace(client.update_trace_settings(settings={"trace_rate": None})) == TRACE_DEFAULTS


def test_a_model_has_trace_settings_of_its_own_until_they_are_cleared(client):
    client.update_trace_settings(settings={"trace_count": "9"})
    of_model = trace(client.update_trace_settings("tiny-rm", {"trace_rate": "77"}))
    assert of_model == {**TRACE_DEFAULTS, "trace_rate": ["77"], "trace_count": ["9"]}
    assert trace(client.get_trace_settings())["trace_rate"] == ["1000"]
    client.update_trace_settings("tiny-rm", {"trace_rate": None})
    assert trace(client.get_trace_settings("tiny-rm"))["trace_rate"] == ["1000"]


@pytest.mark.parametrize(
    ("model", "settings", "code", "words"),
    [
        ("nothing", {}, "INVALID_ARGUMENT", "Request for unknown model : nothing"),
        (None, {"trace_rate": "x"}, "INVALID_ARGUMENT", "Unable to parse 'trace_rate', got: x"),
        (None, {"trace_rate": ["1", "2"]}, "INVALID_ARGUMENT", "expect only 1 value for 'trace_rate'"),
        (
            None,
            {"trace_count": "-2"},
            "INVALID_ARGUMENT",
            "Expecting value >= -1, got: -2",
        ),
        (None, {"log_frequency": "x"}, "INVALID_ARGUMENT", "Unable to parse 'log_frequency', got: x"),
        (None, {"trace_level": "TIMESTAMPS"}, "INVALID_ARGUMENT", "trace file name is not given"),
        (
            None,
            {"trace_file": "/x"},
            "UNIMPLEMENTED",
            "trace file location can not be updated",
        ),
    ],
)
def test_bad_trace_settings_change_nothing(client, model, settings, code, words):
    with pytest.raises(InferenceServerException) as caught:
        client.update_trace_settings(model, {"trace_rate": "3", **settings})
    assert words in caught.value.message()
    assert caught.value.status() == f"StatusCode.{code}"
    assert trace(client.get_trace_settings()) == TRACE_DEFAULTS


def test_log_settings_set_the_level_of_our_logger(client):
    assert log(client.get_log_settings()) == {
        "log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0,
        "log_format": "default",
    }  # fmt: skip
    ours = logging.getLogger("rewardplane")
    for settings, level in (
        ({"log_info": False}, logging.WARNING),
        ({"log_warning": False}, logging.ERROR),
        ({"log_error": False}, logging.CRITICAL),
        ({"log_verbose_level": 2}, logging.DEBUG),
        ({"log_verbose_level": 0, "log_error": True, "log_warning": True, "log_info": True}, logging.INFO),
    ):
        client.update_log_settings(settings)
        assert ours.level == level


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"log_verbose_level": 1, "log_file": "/x"}, "UNIMPLEMENTED", "log file location can not be updated"),
        ({"log_format": "x"}, "INVALID_ARGUMENT", "invalid argument for log_format, got: x"),
        ({"log_info": None}, "INVALID_ARGUMENT", "expect boolean for 'log_info'"),
        ({"log_verbose_level": None}, "INVALID_ARGUMENT", "expect int32 for 'log_verbose_level'"),
        ({"log_warning": False}, "INVALID_ARGUMENT", "this server logs by level"),
    ],
)
def test_bad_log_settings_change_nothing(client, settings, code, words):
    before = log(client.get_log_settings())
    with pytest.raises(InferenceServerException, match=words) as caught:
        client.update_log_settings(settings)
    assert caught.value.status() == f"StatusCode.{code}"
    assert log(client.get_log_settings()) == before
