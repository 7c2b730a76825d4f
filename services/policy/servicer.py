"""GenerationService: sampled answers with their log-probs."""

from __future__ import annotations

from typing import Any

from rewardplane.v1 import generation_service_pb2, generation_service_pb2_grpc, types_pb2
from rewardplane.wire import pack_floats, pack_ids

from ..common.engine import Engine
from ..common.generation import GeneratedAnswer
from ..common.requests import pins_of, read_questions


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Served by policies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def GenerateAnswers(
        self, request: generation_service_pb2.GenerateAnswersRequest, context: Any
    ) -> generation_service_pb2.GenerateAnswersResponse:
        answers, version = await self._engine.generate(
            read_questions(request.questions),
            answers_per_question=request.answers_per_question if request.HasField("answers_per_question") else 1,
            max_answer_tokens=request.max_answer_tokens,
            temperature=request.temperature if request.HasField("temperature") else 1.0,
            seed=request.seed if request.HasField("seed") else None,
            deadline_s=context.time_remaining(),
            pins=pins_of(request),
        )
        return generation_service_pb2.GenerateAnswersResponse(
            answers=[_message(answer) for answer in answers], model_version=version
        )


def _message(answer: GeneratedAnswer) -> generation_service_pb2.GeneratedAnswer:
    return generation_service_pb2.GeneratedAnswer(
        text=answer.text,
        tokens=types_pb2.TokenPair(question_ids=pack_ids(answer.question_ids), answer_ids=pack_ids(answer.answer_ids)),
        logprobs=pack_floats(answer.logprobs),
        finish_reason=(
            generation_service_pb2.FINISH_REASON_STOP if answer.stopped else generation_service_pb2.FINISH_REASON_LENGTH
        ),
    )
