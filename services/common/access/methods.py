"""What a method asks of its caller."""

from __future__ import annotations

from .caller import Permission

_KSERVE = "/inference.GRPCInferenceService/"

OPEN = frozenset(
    (
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.health.v1.Health/List",
        f"{_KSERVE}ServerLive",
        f"{_KSERVE}ServerReady",
    )
)
"""What everybody may call: probes show no credentials."""

NEEDED: dict[str, Permission] = {
    "/rewardplane.v1.ScoringService/ScoreAnswers": "score",
    "/rewardplane.v1.LogprobService/ComputeLogprobs": "logprobs",
    "/rewardplane.v1.GenerationService/GenerateAnswers": "generate",
    f"{_KSERVE}ModelStatistics": "statistics",
    f"{_KSERVE}TraceSetting": "statistics",
    f"{_KSERVE}LogSettings": "statistics",
    f"{_KSERVE}RepositoryModelLoad": "control",
    f"{_KSERVE}RepositoryModelUnload": "control",
    f"{_KSERVE}SystemSharedMemoryStatus": "control",
    f"{_KSERVE}SystemSharedMemoryRegister": "control",
    f"{_KSERVE}SystemSharedMemoryUnregister": "control",
    f"{_KSERVE}CudaSharedMemoryStatus": "control",
    f"{_KSERVE}CudaSharedMemoryRegister": "control",
    f"{_KSERVE}CudaSharedMemoryUnregister": "control",
}
"""All others (ModelInfo, metadata, reflection) need an identity and nothing more; KServe's inference is asked for what
its outputs need by the engine's gate."""
