"""Is it right, before it is quick: the device's numbers against float64 on the CPU, pair by pair."""

from __future__ import annotations

import numpy as np
import torch
from gpu_parts.pairs import mixed, ranked
from gpu_parts.shapes import SHAPES, random_model
from result_file import Bar

from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.modeling.sampling import Sampling, sample_answers
from rewardplane.wire import TokenPair

Rows = list[dict[str, object]]


def check(device: str) -> tuple[Rows, list[Bar]]:
    """Tiny models: scores, log-probs and greedy answers. The bars are float32's and bf16's rounding."""
    shape = SHAPES["tiny"]
    pairs = [*mixed(1500, shape.vocabulary, longest=300), *ranked(2, 9, 100, 20, shape.vocabulary)]
    rows: Rows = []
    bars: list[Bar] = []
    for name, dtype, share in (("float32", torch.float32, 1e-4), ("bfloat16", torch.bfloat16, 0.05)):
        for what, causal in (("scores", False), ("log-probs", True)):
            expected = _alone(pairs, causal=causal)
            found = _packed(pairs, causal=causal, device=device, dtype=dtype)
            worst = float((found - expected).abs().max() / expected.std())
            rows.append({"case": f"{what}, {name}", "largest_error_in_standard_deviations": worst})
            bars.append(Bar(f"{what}, {name}: largest error, standard deviations", worst, f"at most {share}"))
    same = _greedy(pairs[:8], device) == _greedy(pairs[:8], "cpu")
    bars.append(Bar("greedy answers in float32 are the CPU's", float(same), "at least 1"))
    return rows, bars


@torch.inference_mode()
def _packed(pairs: list[TokenPair], *, causal: bool, device: str, dtype: torch.dtype) -> torch.Tensor:
    model = _model(causal=causal, device=device, dtype=dtype)
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


def _greedy(pairs: list[TokenPair], device: str) -> list[list[int]]:
    model = _model(causal=True, device=device, dtype=torch.float32)
    answers = sample_answers(model, [pair.question_ids for pair in pairs], [1], Sampling(16, temperature=0.0))
    return [answer.tolist() for answer in answers]
