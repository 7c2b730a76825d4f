"""Memory of calls that are over, and of models that are swapped out, is free at once: no collection has to find it."""

from __future__ import annotations

import gc
import time
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rpc
import tritonclient.grpc as triton
from held_compute import hold_compute
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.loading import load_served
from rewardplane.services.roles import ROLES
from servers import Served, served
from tiny_encoders import save_encoder
from tiny_models import FAMILIES, save_tiny
from tritonclient.utils import InferenceServerException

from rewardplane import TokenPair

CALLS = 5
TEXT = rpc.text("How was it?", "Good.")
OF_A_CALL = {"_ServicerContext", "Entry", "Call", "Job", "Texts"}


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """What only a collection would free of what happens inside; filled at the end."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.extend(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def of_a_call(found: list[Any]) -> Counter[str]:
    names = Counter(type(x).__name__ for x in found if type(x).__name__ in OF_A_CALL)
    frames = [x.f_code for x in found if isinstance(x, types.FrameType)]
    names.update(code.co_qualname for code in frames if "/services/" in code.co_filename)
    return names


def infer(server: Served, model: str | None = None) -> None:
    inputs = []
    for name in ("question", "answer"):
        inputs.append(triton.InferInput(name, [1, 1], "BYTES").set_data_from_numpy(np.array([[b"Good."]], object)))
    with triton.InferenceServerClient(server.target) as client:
        client.infer(model or server.server.engine.name, inputs)


def infer_unknown(server: Served) -> None:
    with pytest.raises(InferenceServerException, match="unknown model"):
        infer(server, "nothing")


def refused(server: Served) -> None:
    release = hold_compute(server)
    try:
        waiting = rpc.score_later(server.channel, [TEXT] * 50)
        while not server.server.engine._compute.batcher.queued_tokens:
            time.sleep(0.01)
        failed = rpc.failure(lambda: rpc.score(server.channel, [TEXT] * 50))
    finally:
        release.set()
    assert failed.reason == "QUEUE_FULL"
    waiting.result()


def wrong(server: Served) -> None:
    failed = rpc.failure(lambda: rpc.score(server.channel, [TEXT], expected_checkpoint_digest="another"))
    assert failed.reason == "CHECKPOINT_DIGEST_MISMATCH"


def late(server: Served) -> None:
    release = hold_compute(server)
    try:
        rpc.failure(lambda: rpc.score(server.channel, [TEXT], timeout_s=0.1))
    finally:
        release.set()


CALLED: dict[str, Callable[[Served], object]] = {
    "scores": lambda server: rpc.score(server.channel, [TEXT] * 3),
    "log-probs": lambda server: rpc.logprobs(server.channel, [TEXT] * 3),
    "answers": lambda server: rpc.generate(server.channel, ["How was it?"], max_answer_tokens=2),
    "KServe v2": infer,
    "unknown to KServe v2": infer_unknown,
    "refused": refused,
    "wrong": wrong,
    "late": late,
}


@pytest.mark.parametrize("kind", CALLED)
def test_a_call_that_is_over_leaves_no_garbage(policy_dir: Path, kind: str) -> None:
    with served("policy", policy_dir, parallel_batches=1, max_queue_tokens=300, max_batch_tokens=300) as server:
        CALLED[kind](server)  # what the first call makes is kept
        with garbage() as found:
            for _ in range(CALLS):
                CALLED[kind](server)
            rpc.info(server.channel)  # after which the server, too, has ended the calls
    left = of_a_call(found)
    assert max(left.values(), default=0) < CALLS, left


@pytest.mark.parametrize("family", [*FAMILIES, "bert"])
def test_a_model_that_goes_leaves_no_garbage(tmp_path: Path, family: str) -> None:
    if family == "bert":
        save_encoder(tmp_path / "model", family)
    else:
        save_tiny(tmp_path / "model", "reward", family)
    gc.disable()
    try:
        model = load_served(ROLES["reward"], tmp_path / "model", ServerConfig())
        ids = np.arange(3, 9, dtype=np.int32)
        model.forward([TokenPair(ids, ids)] * 2)
        parts = [weakref.ref(part) for part in (model, model.loaded.model)]
        del model
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()
