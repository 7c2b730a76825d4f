"""Is it right, before it is quick: the device's numbers against float64 on the CPU, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from gpu_parts.pairs import mixed, ranked
from gpu_parts.shapes import SHAPES, as_served, random_model
from result_file import Bar

from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.modeling.sampling import Sampling, sample_answers
from rewardplane.wire import TokenPair

Records = Iterator[dict[str, object] | Bar]


def check(device: str) -> Records:
    """Tiny models: scores, log-probs and answers. The bars are float32's and bf16's rounding."""
    shape = SHAPES["tiny"]
    pairs = [*mixed(1500, shape.vocabulary, longest=300), *ranked(2, 9, 100, 20, shape.vocabulary)]
    for name, dtype, share in (("float32", torch.float32, 1e-4), ("bfloat16", torch.bfloat16, 0.05)):
        for what, causal in (("scores", False), ("log-probs", True)):
            expected = _alone(pairs, causal=causal)
            found = _packed(pairs, causal=causal, device=device, dtype=dtype)
            worst = float((found - expected).abs().max() / expected.std())
            yield {"case": f"{what}, {name}", "largest_error_in_standard_deviations": worst}
            yield Bar(f"{what}, {name}: largest error, standard deviations", worst, f"at most {share}")
    yield from _gradients(pairs, device)
    yield Bar("answers in float32 that are the CPU's, share", _same(pairs[:8], device), "at least 0.9")
    if device == "cuda":
        yield from _sums()


def _gradients(pairs: list[TokenPair], device: str) -> Records:
    """Of the embedding, through every layer."""
    expected = _gradient(pairs, "cpu", torch.float32).double()
    for name, dtype in (("bfloat16", torch.bfloat16), ("autocast", torch.float32)):
        found = _gradient(pairs, device, dtype, autocast=name == "autocast").double().cpu()
        off = float((found - expected).norm() / expected.norm())
        yield Bar(f"gradient of scores, {name}: error of its norm, share", off, "at most 0.05")


def _gradient(pairs: list[TokenPair], device: str, dtype: torch.dtype, *, autocast: bool = False) -> torch.Tensor:
    model = _model(causal=False, device=device, dtype=dtype)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
        scores = packed_scores(model, pack(pairs).to(device))
    scores.sum().backward()
    gradient: torch.Tensor = model.get_input_embeddings().weight.grad
    return gradient


def _same(pairs: list[TokenPair], device: str) -> float:
    """Share of the answers, of which half are greedy, and half are drawn with a seed."""
    found = [
        (a == b)
        for temperature in (0.0, 1.0)
        for a, b in zip(_answers(pairs, device, temperature), _answers(pairs, "cpu", temperature), strict=True)
    ]
    return sum(found) / len(found)


def _sums() -> Records:
    """The kernel against float64, on states and weights that bf16 holds exactly."""
    from rewardplane.modeling.cuda.logprobs import sum_products

    random = torch.Generator().manual_seed(0)
    states = torch.randn(5000, 256, generator=random).bfloat16()
    weights = (0.2 * torch.randn(10_001, 256, generator=random)).bfloat16()
    ids = torch.randint(10_001, (5000,), generator=random)
    log_z, chosen = sum_products(states.cuda(), weights.cuda(), ids.cuda(), 0.7)
    expected = (states.double() @ weights.double().T / 0.7).log_softmax(-1).gather(1, ids[:, None])[:, 0]
    worst = float(((chosen - log_z).double().cpu() - expected).abs().max())
    yield {"case": "log-probs without logits, bfloat16 products", "largest_error_nats": worst}
    yield Bar("log-probs without logits: largest error, nats", worst, "at most 0.001")


@torch.inference_mode()
def _packed(pairs: list[TokenPair], *, causal: bool, device: str, dtype: torch.dtype) -> torch.Tensor:
    model = as_served(_model(causal=causal, device=device, dtype=dtype))
    packed = pack(pairs).to(device)
    return (packed_logprobs if causal else packed_scores)(model, packed).double().cpu()


@torch.inference_mode()
def _alone(pairs: list[TokenPair], *, causal: bool) -> torch.Tensor:
    """By transformers' own forward."""
    model = _model(causal=causal, device="cpu", dtype=torch.float64, packed=False)
    found = []
    for pair in pairs:
        ids = torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids])).long()
        states = model.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        if causal:
            logprobs = model.lm_head(states).log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
            found.append(logprobs[-len(pair.answer_ids) :])
        else:
            found.append(model.score(states[-1]))
    return torch.cat(found)


def _model(*, causal: bool, device: str, dtype: torch.dtype, packed: bool = True) -> torch.nn.Module:
    """The same weights in every precision: drawn on the CPU in float32."""
    drawn = random_model(SHAPES["tiny"], causal=causal, device="cpu", dtype=torch.float32, packed=packed)
    model: torch.nn.Module = drawn.to(device, dtype)
    return model


def _answers(pairs: list[TokenPair], device: str, temperature: float) -> list[list[int]]:
    model = _model(causal=True, device=device, dtype=torch.float32)
    questions = [pair.question_ids for pair in pairs]
    answers = sample_answers(model, questions, [1], Sampling(32, temperature=temperature))
    return [answer.tolist() for answer in answers]
