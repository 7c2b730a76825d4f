"""A request is known by the same ids from the caller to the server's log, with OpenTelemetry and without it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import rpc
import torch
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rewardplane.trainer.judges import JudgeConfig, RewardJudge
from servers import Served

from rewardplane import AsyncClient, Client
from rewardplane.errors import DigestMismatch, InvalidRequest
from rewardplane.logs import JsonFormatter
from rewardplane.modeling.models import load_causal_model
from rewardplane.tracing import client_span, parent_of, span
from rewardplane.v1 import scoring_service_pb2
from rewardplane.wire import TextPair, TokenPair

SERVER = "rewardplane.v1.ScoringService/ScoreAnswers"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # the example of the W3C's recommendation
SECRET = "what nobody may read in a log"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "get_tracer_provider", lambda: provider)
    return exporter


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What servers of this process log, as JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("rewardplane.services")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name + (" server" if span.kind is otel.SpanKind.SERVER else ""): span
            for span in spans.get_finished_spans()}  # fmt: skip


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def times_of(span: ReadableSpan) -> tuple[int, int]:
    """Begin and end, in nanoseconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def is_below(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent is not None
    assert parent.context is not None
    same = child.parent.trace_id == parent.context.trace_id
    return same and child.parent.span_id == parent.context.span_id


def lines_of(log: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_spans_go_from_the_callers_own_to_the_forward_pass(reward_server: Served, spans: InMemorySpanExporter) -> None:
    with Client(reward_server.target) as client:
        client.info()
        spans.clear()
        with otel.get_tracer("team").start_as_current_span("their work"):
            client.score([("How was it?", "Good.")])
    found = by_name(spans)
    assert found.keys() == {"their work", SERVER, f"{SERVER} server", "queue wait", "forward"}
    assert is_below(found[SERVER], found["their work"])
    assert is_below(found[f"{SERVER} server"], found[SERVER])
    for part in ("queue wait", "forward"):
        assert is_below(found[part], found[f"{SERVER} server"])
    arrived, taken = times_of(found["queue wait"])
    began, ended = times_of(found["forward"])
    assert arrived <= taken <= ended
    assert abs(taken - began) < 1_000_000  # one moment, to the millisecond
    assert "rewardplane.request_id" in (found[SERVER].attributes or {})


async def test_the_asynchronous_client_does_the_same(reward_server: Served, spans: InMemorySpanExporter) -> None:
    async with AsyncClient(reward_server.target) as client:
        await client.score([("How was it?", "Good.")])
    found = by_name(spans)
    assert is_below(found[f"{SERVER} server"], found[SERVER])


def test_a_judge_is_asked_within_the_update_of_the_trainer(
    reward_server: Served, sft_dir: Path, spans: InMemorySpanExporter
) -> None:
    encoder = load_causal_model(sft_dir, torch.float32, "cpu").encoder
    judge = RewardJudge(JudgeConfig(target=reward_server.target), encoder)
    pair = encoder.encode(TextPair("How was it?", "Good."))
    spans.clear()
    with span("ppo update"):
        judge.scores(["How was it?"], [pair])
    judge.close()
    found = by_name(spans)
    assert is_below(found["judge reward"], found["ppo update"])
    assert is_below(found[SERVER], found["judge reward"])
    assert trace_of(found["forward"]) == trace_of(found["ppo update"])


def test_the_servers_log_names_the_request_and_not_its_text(reward_server: Served, log: io.StringIO) -> None:
    call = reward_server.channel.unary_unary(f"/{SERVER}", scoring_service_pb2.ScoreAnswersRequest.SerializeToString)
    request = scoring_service_pb2.ScoreAnswersRequest(
        pairs=[rpc.text(SECRET, SECRET * 1000)], expected_checkpoint_digest=SECRET
    )
    with pytest.raises(grpc.RpcError):
        call(request, metadata=[("traceparent", PARENT), ("x-request-id", "team-7:42")], timeout=10)
    (line,) = [line for line in lines_of(log) if "ScoreAnswers" in line["message"]]
    assert line["message"] == f"{SERVER} ended with FAILED_PRECONDITION CHECKPOINT_DIGEST_MISMATCH"
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert line["request_id"] == "team-7:42"
    assert SECRET not in log.getvalue()


def test_ids_arrive_without_opentelemetry(
    reward_server: Served, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardplane.tracing.otel", None)
    with Client(reward_server.target) as client, span("work", request_id="mine") as mine:
        client.info()
        with pytest.raises(DigestMismatch):
            client.score([("How was it?", "Good.")], expected_checkpoint_digest="0" * 64)
    (line,) = [line for line in lines_of(log) if "ScoreAnswers" in line["message"]]
    assert (line["trace_id"], line["request_id"]) == (mine.trace_id, "mine")


@pytest.mark.parametrize(
    "header",
    [
        "", PARENT.upper(), PARENT[:-3], "ff" + PARENT[2:], "00-" + "0" * 32 + PARENT[35:], PARENT + "-x",
        PARENT[:36] + "0" * 16 + "-01",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_begins_a_trace_of_its_own(header: str) -> None:
    made = parent_of([("traceparent", header)])
    assert len(made.trace_id) == 32
    assert made.trace_id not in PARENT
    assert made.span_id == ""


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'id", "level": "info', "ä", "line\nbreak"])
def test_a_request_id_that_could_be_anything_else_is_replaced(given: str) -> None:
    assert len(parent_of([("x-request-id", given)]).request_id) == 32
    assert parent_of([("x-request-id", "team-7:42")]).request_id == "team-7:42"


def test_what_the_caller_gives_is_sent_once() -> None:
    with client_span("call") as trace:
        assert [key for key, _ in trace.metadata()] == ["traceparent", "x-request-id"]
        assert [key for key, _ in trace.metadata([("X-Request-Id", "theirs")])] == ["traceparent"]


def test_a_json_line_holds_the_exception() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "", 0, "it failed: %s", ("x",), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "a.b", "it failed: x")
    assert line["exception"].endswith("ValueError: no such thing")
    assert line["time"].endswith("+00:00")


def test_token_pairs_are_not_logged_either(reward_server: Served, log: io.StringIO) -> None:
    with Client(reward_server.target) as client:
        client.info()
        with pytest.raises(InvalidRequest, match="vocabulary"):
            client.score([TokenPair([0, 77_777], [1])])
    assert "77777" not in log.getvalue()
