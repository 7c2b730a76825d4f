"""A policy on the compute thread: a causal language model that also writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling import attention
from rewardplane.modeling.sampling import Sampling, sample_answers

from ..reference.model import CausalModel


class PolicyModel(CausalModel):
    """Samples answers too."""

    def sample(
        self, questions: Sequence[NDArray[np.int32]], answers_per_question: int, sampling: Sampling
    ) -> list[NDArray[np.int32]]:
        """int32[A] for each answer, question by question."""
        model = self.loaded.model
        if not needs_eager(model):
            return self._sample(questions, answers_per_question, sampling)
        model.set_attn_implementation("eager")
        try:
            return self._sample(questions, answers_per_question, sampling)
        finally:
            model.set_attn_implementation(attention.NAME)

    def _sample(
        self, questions: Sequence[NDArray[np.int32]], answers_per_question: int, sampling: Sampling
    ) -> list[NDArray[np.int32]]:
        return sample_answers(
            self.loaded.model,
            questions,
            self.encoder.stop_token_ids,
            sampling,
            answers_per_question=answers_per_question,
        )


def needs_eager(model: Any) -> bool:
    """Whether its attention caps logits (Gemma 2) or has sinks (GPT-OSS), which SDPA lacks."""
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        return True
    return any(name.endswith(".sinks") for name, _ in model.named_parameters())
