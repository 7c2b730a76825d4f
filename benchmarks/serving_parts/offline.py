"""What is computed without a server, in a process of its own that answers one line of JSON with another.

python offline.py DIRECTORY, with the assets; torch runs on one thread. Texts are given as `[question, answer]`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.loading import load_served
from rewardplane.services.common.packed_model import PackedModel, row_step
from rewardplane.services.common.pair_queue import Entry, PairQueue
from rewardplane.services.roles import ROLES
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardplane.modeling.fused.rows import on_threads
from rewardplane.modeling.packing import pack
from rewardplane.process import keep_freed_memory
from rewardplane.wire import TextPair, TokenPair

BATCH_TOKENS = ServerConfig().batch_tokens
NEVER = float("inf")
QUESTION_TOKENS, ANSWER_TOKENS, ANSWERS = 256, 64, 9
UNSHARED = 1 << 30
"""As the least number of tokens to share: nothing has so many."""

Texts = Sequence[tuple[str, str]]


class Offline:
    """The reward model, packed and as transformers has it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        served = load_served(ROLES["reward"], directory / "reward", ServerConfig())
        assert isinstance(served, PackedModel)
        self._model = served
        self._plain = AutoModelForSequenceClassification.from_pretrained(directory / "reward", dtype=torch.float32)

    def hf_scores(self, texts: Texts) -> dict[str, Any]:
        """Each pair alone, in transformers' own forward."""
        return {"scores": [self._alone(pair) for pair in self._encode(texts)]}

    def hf_logprobs(self, texts: Texts) -> dict[str, Any]:
        """Of the answers' tokens, pair by pair, from whole logits in float64."""
        model = AutoModelForCausalLM.from_pretrained(self._directory / "causal", dtype=torch.float64).eval()
        values: list[float] = []
        for pair in self._encode(texts):
            ids = _row(pair)
            with torch.inference_mode():
                logits = model(input_ids=ids[None]).logits[0]
            logprobs = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
            values += logprobs[len(pair.question_ids) - 1 :].tolist()
        return {"logprobs": values}

    def packed(self, texts: Texts, threads: int) -> dict[str, Any]:
        """The ceiling of the server: from the same texts, in batches as it cuts them, as many side by side."""
        parallel, of_each = ServerConfig().compute_threads(threads)
        with ThreadPoolExecutor(parallel, initializer=torch.set_num_threads, initargs=(of_each,)) as pool:
            return _clocked(lambda: list(pool.map(self._model.forward, _batches(self._encode(texts)))))

    def alone(self, texts: Texts, threads: int) -> dict[str, Any]:
        """Seconds of each pair's forward pass, packed and by transformers."""
        pairs = self._encode(texts)
        seconds: dict[str, list[float]] = {"packed": [], "transformers": []}
        with _threads(ServerConfig().compute_threads(threads)[1]), on_threads(threads):
            for name, run in (("packed", lambda pair: self._model.forward([pair])), ("transformers", self._alone)):
                for pair in pairs:
                    began_s = time.perf_counter()
                    run(pair)
                    seconds[name].append(time.perf_counter() - began_s)
        return seconds

    def sharing(self, groups: int) -> dict[str, Any]:
        """Questions of 256 tokens with 9 answers of 64: in one row that has the question once, and in rows of about
        the same length that have it with every answer."""
        rng = np.random.default_rng(0)
        shared_s, apart_s = {"seconds": 0.0, "cpu_seconds": 0.0}, {"seconds": 0.0, "cpu_seconds": 0.0}
        for _ in range(groups):
            question = rng.integers(3, 32000, QUESTION_TOKENS)
            pairs = [TokenPair(question, rng.integers(3, 32000, ANSWER_TOKENS)) for _ in range(ANSWERS)]
            thirds = [pairs[i : i + 3] for i in range(0, ANSWERS, 3)]
            _add(shared_s, _clocked(lambda pairs=pairs: self._rows([pairs], 16)))  # type: ignore[misc]
            _add(apart_s, _clocked(lambda thirds=thirds: self._rows(thirds, UNSHARED)))  # type: ignore[misc]
        return {"shared": shared_s, "apart": apart_s}

    def _rows(self, batches: Sequence[Sequence[TokenPair]], min_shared_tokens: int) -> None:
        with torch.inference_mode():
            for pairs in batches:
                length = sum(len(pair.question_ids) + len(pair.answer_ids) for pair in pairs)
                row = pack(pairs, min_shared_tokens=min_shared_tokens, round_to=row_step(length))
                self._model.outputs(row, 1.0)

    def _encode(self, texts: Texts) -> list[TokenPair]:
        return [self._model.encoder.encode(TextPair(question, answer)) for question, answer in texts]

    @torch.inference_mode()
    def _alone(self, pair: TokenPair) -> float:
        return float(self._plain(input_ids=_row(pair)[None]).logits[0, 0])


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """torch computes on n threads inside of it, and on one again after it."""
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(1)


def _row(pair: TokenPair) -> torch.Tensor:  # int64[Q + A]
    return torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids])).long()


def _batches(pairs: Sequence[TokenPair]) -> Iterator[list[TokenPair]]:
    queue = PairQueue("question")
    for i, pair in enumerate(pairs):
        queue.add(Entry(pair, 1.0, NEVER, 0.0, i, lambda index, result: None))
    while queue:
        yield [entry.pair for entry in queue.take(BATCH_TOKENS, 0.0)[0]]


def _clocked(run: Callable[[], object]) -> dict[str, float]:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - began_s, "cpu_seconds": time.process_time() - cpu_s}


def _add(total: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        total[name] += value


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as the servers do
    offline = Offline(Path(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(offline, asked.pop("what"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
