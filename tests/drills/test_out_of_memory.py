"""Memory that runs out in the forward pass: smaller parts of the batch are tried, and what fits is answered."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import rpc
import torch
from held_compute import hold_compute
from leaks import wait_for
from peer_forward import peer_score
from servers import Served, served
from tiny_models import REWARD_OFFSET, save_tiny

Ids = tuple[list[int], list[int]]

OUT_OF_MEMORY = "rewardplane_out_of_memory_total"


def random_pairs(n: int, tokens: int, seed: int = 0) -> list[Ids]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(3, 300, tokens // 2).tolist(), rng.integers(3, 300, tokens // 2).tolist()) for _ in range(n)]


def fail_above(server: Served, max_tokens: int) -> list[int]:
    """From now on a forward pass of more tokens asks torch for more memory than there is. Gives their numbers."""
    rows: list[int] = []

    def ask_for_more(module: Any, arguments: Any, kwargs: Any) -> None:
        rows.append(kwargs["position_ids"].shape[1])
        if rows[-1] > max_tokens:
            torch.empty(1 << 60, dtype=torch.uint8)

    model = server.server.engine.model.loaded.model.base_model
    model.register_forward_pre_hook(ask_for_more, with_kwargs=True)
    return rows


def score_together(server: Served, requests: Sequence[Sequence[Ids]]) -> list[Callable[[], Any]]:
    """Requests whose pairs wait until all are there, so that one batch has them; gives their results."""
    release = hold_compute(server)
    pins = {"tokenizer_fingerprint": rpc.info(server.channel).tokenizer_fingerprint}
    calls = [rpc.score_later(server.channel, [rpc.tokens(*pair) for pair in pairs], **pins) for pairs in requests]
    tokens = sum(len(question) + len(answer) for pairs in requests for question, answer in pairs)
    assert wait_for(lambda: server.metrics()["rewardplane_queue_tokens", ()] == tokens)
    release.set()
    return [call.result for call in calls]


def test_a_batch_that_does_not_fit_is_run_as_two_halves(reward_dir: Path) -> None:
    pairs = random_pairs(8, 40)
    with served("reward", reward_dir) as server:
        rows = fail_above(server, 200)
        (result,) = score_together(server, [pairs])
        scores = list(result().scores)
        metrics = server.metrics()
    # 8 pairs of 40 tokens, then 4 and 4.
    assert rows == [320, 160, 160]
    assert scores == pytest.approx(np.array(peer_score(reward_dir, pairs)) - REWARD_OFFSET, abs=1e-5)
    assert metrics[OUT_OF_MEMORY, ("halved",)] == 1
    assert metrics[OUT_OF_MEMORY, ("refused",)] == 0
    assert metrics["rewardplane_tokens_total", ("computed",)] == 320


def test_only_the_pair_that_does_not_fit_alone_is_refused_and_by_name(reward_dir: Path) -> None:
    """Three requests in one batch; the second half has the long pair of the third, and the pair of the second."""
    requests = [random_pairs(2, 20), random_pairs(1, 20, seed=1), [([5, 6], [7, 8]), *random_pairs(1, 240, seed=2)]]
    with served("reward", reward_dir) as server:
        rows = fail_above(server, 200)
        results = score_together(server, requests)
        scores = [list(result().scores) for result in results[:2]]
        failed = rpc.failure(results[2])
        afterwards = [list(result().scores) for result in score_together(server, requests[:2])]
        metrics = server.metrics()
    expected = [
        pytest.approx(np.array(peer_score(reward_dir, pairs)) - REWARD_OFFSET, abs=1e-5) for pairs in requests[:2]
    ]
    assert scores == afterwards == expected
    assert failed.code is grpc.StatusCode.INTERNAL
    assert failed.reason == "OUT_OF_MEMORY"
    assert failed.message.startswith("pairs[1]: memory ran out")
    # 5 pairs; 2; 3; and of these one after the other.
    assert [row > 200 for row in rows[:6]] == [True, False, True, False, False, True]
    assert metrics[OUT_OF_MEMORY, ("halved",)] == 1
    assert metrics[OUT_OF_MEMORY, ("refused",)] == 1
    assert metrics["rewardplane_refused_total", ("OUT_OF_MEMORY",)] == 1
    assert metrics["rewardplane_queue_tokens", ()] == 0


def test_sampling_that_does_not_fit_is_refused_and_scoring_goes_on(policy_dir: Path) -> None:
    with served("policy", policy_dir) as server:
        model = server.server.engine.model.loaded.model
        hook = model.base_model.register_forward_pre_hook(lambda *_: torch.empty(1 << 60, dtype=torch.uint8) and None)
        failed = rpc.failure(lambda: rpc.generate(server.channel, ["Was it good?"], max_answer_tokens=4))
        hook.remove()
        answers = rpc.generate(server.channel, ["Was it good?"], max_answer_tokens=4).answers
        metrics = server.metrics()
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "OUT_OF_MEMORY")
    assert len(answers) == 1
    assert metrics[OUT_OF_MEMORY, ("refused",)] == 1


def test_another_error_in_the_forward_is_not_taken_for_it(reward_dir: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the kernel was not found")

    with served("reward", reward_dir) as server:
        server.server.engine.model.loaded.model.base_model.register_forward_pre_hook(fail)
        failed = rpc.failure(lambda: rpc.score(server.channel, [rpc.text("a", "b")] * 4))
        metrics = server.metrics()
    assert failed.reason == "FORWARD_FAILED"
    assert metrics[OUT_OF_MEMORY, ("halved",)] == 0


def score_in_little_memory(directory: Path, pairs: Sequence[Ids]) -> tuple[list[float], float, float]:
    """The scores, and how often a batch was halved and a pair refused; in a process of its own."""
    with served("reward", directory, max_batch_tokens=8192) as server:
        allowed = psutil.Process().memory_info().vms + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
        pins = {"tokenizer_fingerprint": rpc.info(server.channel).tokenizer_fingerprint}
        reply = rpc.score(server.channel, [rpc.tokens(*pair) for pair in pairs], timeout_s=100, **pins)
        metrics = server.metrics()
    return list(reply.scores), metrics[OUT_OF_MEMORY, ("halved",)], metrics[OUT_OF_MEMORY, ("refused",)]


@pytest.mark.slow
def test_a_process_with_too_little_memory_for_a_batch_answers_all_the_same(tmp_path: Path) -> None:
    """Of 8192 tokens an MLP of 16384 makes arrays of 512 MiB each; the process may take 1 GiB more than it has."""
    save_tiny(tmp_path / "wide", "reward", hidden_size=16, intermediate_size=16384)
    pairs = random_pairs(40, 200)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        scores, halved, refused = process.submit(score_in_little_memory, tmp_path / "wide", pairs).result(110)
    assert scores == pytest.approx(peer_score(tmp_path / "wide", pairs), abs=1e-5)
    assert halved >= 1
    assert refused == 0
