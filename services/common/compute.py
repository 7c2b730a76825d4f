"""Runs the loaded model through the batcher: one set of weights from end to end of every request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter

from rewardplane.modeling.sampling import Sampling
from rewardplane.wire import TokenPair

from . import faults
from .batcher import NEVER, Batcher
from .config import ServerConfig
from .cores import available_cores
from .generation import Block, Sampler, blocks
from .out_of_memory import MemoryGuard
from .pair_queue import Entry
from .served_model import Floats, RowTokens, ServedModel

Ids = NDArray[np.int32]


class Compute:
    """The model that answers now, and the queue before it. Lives on one event loop."""

    def __init__(self, config: ServerConfig, registry: CollectorRegistry) -> None:
        self.model: ServedModel | None = None
        """Swapped by assignment: each batch takes the model that is here when it starts."""
        self._max_rows = config.max_generation_rows
        self._share = config.share
        self._non_finite = Counter(
            "rewardplane_non_finite_total",
            "Pairs whose score or log-probs were NaN or infinite",
            registry=registry,
        )
        self._memory = MemoryGuard(registry)
        parallel, threads = config.compute_threads(available_cores())
        self.batcher = Batcher(
            self._run_batch,
            max_batch_tokens=config.batch_tokens,
            max_queue_tokens=config.queue_tokens,
            threads=threads,
            parallel=parallel,
            share=config.share,
            shared=config.access is not None,
            registry=registry,
        )

    async def outputs(
        self,
        pairs: Sequence[TokenPair],
        temperature: float,
        *,
        expires_at_s: float = NEVER,
        admitted: bool = False,
    ) -> tuple[list[Floats], ServedModel]:
        """The model's output for each pair. Raises Unavailable (QUEUE_FULL), DeadlineExceeded, ServerFault.

        `admitted`: the pairs belong to a request that the queue has accepted before.
        """
        results: list[tuple[Floats, ServedModel]] = [(np.empty(0, np.float32), self._now())] * len(pairs)
        again = list(range(len(pairs)))
        while again:
            fresh = await self.batcher.submit(
                [pairs[i] for i in again], temperature, expires_at_s=expires_at_s, admitted=admitted
            )
            for i, result in zip(again, fresh, strict=True):
                results[i] = result
            # Weights may have been swapped between two batches: what the old ones scored is scored again.
            newest = max((model for _, model in results), key=lambda model: model.number)
            again = [i for i, (_, model) in enumerate(results) if model is not newest]
            admitted = True
        return [output for output, _ in results], results[0][1] if results else self._now()

    async def answers(
        self, questions: Sequence[Ids], answers_per_question: int, sampling: Sampling, *, expires_at_s: float
    ) -> tuple[list[TokenPair], list[Floats], ServedModel]:
        """Samples answers, and their log-probs from the forward pass that also serves ComputeLogprobs."""
        admitted = False
        while True:
            parts: list[TokenPair] = []
            models: set[ServedModel] = set()
            for block in blocks(questions, answers_per_question, sampling, self._max_rows):
                pairs, sampled_by = await self.batcher.run_alone(
                    lambda block=block: self._sample(block),  # type: ignore[misc]
                    tokens=block.tokens, expires_at_s=expires_at_s, admitted=admitted,
                )  # fmt: skip
                parts.extend(pairs)
                models.add(sampled_by)
                admitted = True
            logprobs, scored_by = await self.outputs(
                parts, sampling.temperature or 1.0, expires_at_s=expires_at_s, admitted=True
            )
            if models <= {scored_by}:
                return parts, logprobs, scored_by

    def _now(self) -> ServedModel:
        assert self.model is not None, "the engine lets nothing in before the model is loaded"
        return self.model

    # Below: on the compute threads.

    def _run_batch(self, batch: Sequence[Entry]) -> tuple[list[object], RowTokens]:
        model = self._now()

        def forward(part: Sequence[Entry]) -> tuple[list[Floats], RowTokens]:
            with model.turn:
                return model.forward([entry.pair for entry in part], part[0].temperature, share=self._share)

        outputs, tokens = self._memory.forward(forward, batch)
        results: list[object] = []
        for entry, output in zip(batch, outputs, strict=True):
            if isinstance(output, faults.Fault):
                results.append(output)
            elif np.isfinite(output).all():
                results.append((output, model))
            else:
                self._non_finite.inc()
                results.append(faults.non_finite(entry.index, model.output_name))
        return results, tokens

    def _sample(self, block: Block) -> tuple[list[TokenPair], ServedModel]:
        model = self._now()
        assert isinstance(model, Sampler)
        sample = model.sample
        with model.turn:
            answers = self._memory.alone(lambda: sample(block.questions, block.answers_per_question, block.sampling))
        questions = [q for q in block.questions for _ in range(block.answers_per_question)]
        return [TokenPair(q, a) for q, a in zip(questions, answers, strict=True)], model
