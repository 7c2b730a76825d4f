"""Servers with tiny models, and the real tritonclient that the tests talk to them with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from kserve_requests import ANSWERS, QUESTIONS
from servers import Served, served
from tiny_models import make_tokenizer, save_tiny
from tritonclient.grpc import service_pb2_grpc

from rewardplane import Client
from rewardplane.wire import TextPair, TokenPair


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory) -> Path:
    """tiny-rm, tiny-reference, and a policy after 3 updates and after 4."""
    directory = tmp_path_factory.mktemp("checkpoints")
    save_tiny(directory / "tiny-rm", "reward", reward_offset=0.25)
    save_tiny(directory / "tiny-reference", "sft")
    for version in (3, 4):
        save_tiny(directory / f"at-{version}" / "tiny-policy", "policy", seed=version, policy_version=version)
    return directory


@pytest.fixture(scope="session")
def reward(tiny_checkpoints) -> Iterator[Served]:
    with served("reward", tiny_checkpoints / "tiny-rm", max_request_pairs=8) as server:
        yield server


@pytest.fixture(scope="session")
def policy(tiny_checkpoints) -> Iterator[Served]:
    with served("policy", tiny_checkpoints / "at-3" / "tiny-policy") as server:
        yield server


@pytest.fixture
def client(reward) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(reward.target) as client:
        yield client


@pytest.fixture
def policy_client(policy) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(policy.target) as client:
        yield client


@pytest.fixture
def stub(reward) -> Any:
    """For what tritonclient refuses to send."""
    return service_pb2_grpc.GRPCInferenceServiceStub(reward.channel)


@pytest.fixture(scope="session")
def native_scores(reward) -> np.ndarray:  # float32[n, 1]
    """What rewardplane.v1 says of the same pairs."""
    with Client(reward.target) as client:
        scores = client.score([TextPair(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)])
    return np.asarray(scores, np.float32)[:, None]


@pytest.fixture(scope="session")
def token_pairs() -> list[TokenPair]:
    """The pairs as ids: <s> and the question; the answer and </s>."""
    tokenizer = make_tokenizer()
    return [
        TokenPair(tokenizer(q)["input_ids"], [*tokenizer(a, add_special_tokens=False)["input_ids"], 1])
        for q, a in zip(QUESTIONS, ANSWERS, strict=True)
    ]
