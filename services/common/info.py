"""Describes the loaded model (ModelService)."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from rewardplane.v1 import model_service_pb2

from .config import ServerConfig
from .served_model import ServedModel


def pair_limit(model: ServedModel, config: ServerConfig) -> int:
    """The most tokens of a pair: what the model's positions allow, or less where the server is told so."""
    return min(model.loaded.max_pair_tokens, config.max_pair_tokens or model.loaded.max_pair_tokens)


def describe(
    model: ServedModel, score_kind: model_service_pb2.ScoreKind, config: ServerConfig
) -> model_service_pb2.ModelInfo:
    """What clients split their batches by."""
    load_time = Timestamp()
    load_time.FromNanoseconds(int(model.loaded_at_s * 1e9))
    return model_service_pb2.ModelInfo(
        model_version=model.version,
        tokenizer_fingerprint=model.encoder.fingerprint,
        dtype=config.dtype,
        score_kind=score_kind,
        max_pair_tokens=pair_limit(model, config),
        max_request_pairs=config.max_request_pairs,
        max_request_bytes=config.max_request_bytes,
        max_batch_tokens=config.batch_tokens,
        load_time=load_time,
        vocabulary_size=model.encoder.vocabulary_size,
        stop_token_ids=model.encoder.stop_token_ids,
    )
