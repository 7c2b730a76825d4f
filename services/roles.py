"""The roles that a deployment can have, and the services of each capability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rewardplane.v1 import (
    generation_service_pb2_grpc,
    logprob_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    scoring_service_pb2_grpc,
)

from .common.engine import Engine
from .common.model_servicer import ModelServicer
from .common.role import Capability, Role
from .policy.model import PolicyModel
from .policy.servicer import GenerationServicer
from .reference.model import CausalModel
from .reference.servicer import LogprobServicer
from .reward.model import load as load_reward
from .reward.servicer import ScoringServicer

ROLES = {
    role.name: role
    for role in (
        Role(
            "reward",
            frozenset({"score"}),
            frozenset({"reward", None}),
            model_service_pb2.SCORE_KIND_REWARD,
            load_reward,
        ),
        Role(
            "reference",
            frozenset({"logprobs"}),
            frozenset({"sft", "policy", None}),
            model_service_pb2.SCORE_KIND_UNSPECIFIED,
            CausalModel.load,
        ),
        Role(
            "policy",
            frozenset({"score", "logprobs", "generate"}),
            frozenset({"sft", "policy", None}),
            model_service_pb2.SCORE_KIND_LOGPROB_SUM,
            PolicyModel.load,
        ),
    )
}


@dataclass(frozen=True)
class Service:
    """A gRPC service over an engine."""

    name: str
    """In full, as health checks and reflection name it."""
    servicer: Callable[[Engine], object]
    add: Callable[..., Any]
    """Adds the servicer to a server; generated code."""


SERVICES: dict[Capability, Service] = {
    "score": Service(
        "rewardplane.v1.ScoringService",
        ScoringServicer,
        scoring_service_pb2_grpc.add_ScoringServiceServicer_to_server,
    ),
    "logprobs": Service(
        "rewardplane.v1.LogprobService",
        LogprobServicer,
        logprob_service_pb2_grpc.add_LogprobServiceServicer_to_server,
    ),
    "generate": Service(
        "rewardplane.v1.GenerationService",
        GenerationServicer,
        generation_service_pb2_grpc.add_GenerationServiceServicer_to_server,
    ),
}
MODEL_SERVICE = Service(
    "rewardplane.v1.ModelService", ModelServicer, model_service_pb2_grpc.add_ModelServiceServicer_to_server
)


def services_of(role: Role) -> list[Service]:
    """What a deployment of the role serves, besides health, reflection and KServe v2."""
    return [*(service for capability, service in SERVICES.items() if capability in role.capabilities), MODEL_SERVICE]
