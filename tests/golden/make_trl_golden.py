"""Makes trl_1_12.json: what TRL 1.12.0 computes for one ragged batch of answers and one set of rankings.

TRL is no dependency of this project. To make the numbers again:

    pip install --no-deps --target build/trl trl==1.12.0 \
        datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1 dill==0.4.1 multiprocess==0.70.19 xxhash==4.1.0
    TRL_EXPERIMENTAL_SILENCE=1 PYTHONPATH=build/trl python tests/golden/make_trl_golden.py

Where TRL has a function it is called. Where a formula stands inline, those statements of TRL are cut from
its installed source and executed as they are, in float64, so nothing is typed in a second time.
File and lines: https://github.com/huggingface/trl/blob/v1.12.0/trl/experimental/ppo/ppo_trainer.py

Three things differ from TRL on purpose, each by an argument and not by an edit:
- TRL puts the score of an ended answer on the first pad (its issue #3750). `sequence_lengths_p1`, the index
  it uses, is set to the last real token; what TRL gives unchanged is stored beside it.
- TRL keeps the value on that first pad, too: `padding_mask_p1` is set to `padding_mask`.
- TRL whitens with the unbiased variance; arXiv:2403.17031 and its code use the biased one, which TRL's own
  `masked_var(unbiased=False)` gives. Both are stored.
"""

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from torch import Tensor
from trl.experimental.ppo import ppo_trainer as trl_ppo
from trl.experimental.utils import first_true_indices
from trl.trainer import reward_trainer as trl_reward

STOP, PAD = 2, 0
# TRL samples a fixed number of tokens, also past the stop token, and cuts afterwards.
RESPONSES = [
    [5, 9, 4, STOP, 8, 7, 3, 6],        # ends inside
    [7, 3, 3, 9, 6, 5, 4, STOP],        # ends in the last column
    [4, 8, 6, 3, 9, 9, 5, 7],           # never ends
    [STOP, 5, 5, 6, 3, 4, 8, 9],        # ends at once
    [9, 6, 7, 4, 3, STOP, 8, STOP],     # a second stop token after the first
    [3, 4, 5, 6, 7, 8, 9, 3],           # never ends
]  # fmt: skip
SCORES = [1.25, -0.75, 0.5, 2.0, 0.0, -1.5]  # one is exactly 0, and is a score like any other
RANKINGS = [  # per question: scores, ranks (0 best, ties equal, None unknown)
    ([1.2, -0.3], [0, 1]),
    ([0.1, 0.9, -1.1, 0.4], [2, 0, 3, 1]),
    ([0.7, 0.6, 0.5], [1, 1, 1]),
    ([2.0, -2.0, 0.3, 0.8, -0.6], [0, 2, None, 1, 1]),
    ([0.2, 1.0, 0.4], [1, 0, None]),
]


def run_trl(function: Callable[..., Any], first: str, last: str, names: dict[str, Any]) -> None:
    """Executes in `names` the statements of `function` from the one that starts with `first` to `last`'s."""
    source = textwrap.dedent(inspect.getsource(function))
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]

    def only(start: str) -> ast.stmt:
        (found,) = (s for s in statements if (ast.get_source_segment(source, s) or "").startswith(start))
        return found

    lines = source.splitlines()[only(first).lineno - 1 : only(last).end_lineno]
    exec(compile(textwrap.dedent("\n".join(lines)), f"<trl {first}>", "exec"), names)


def sample_batch() -> dict[str, Tensor]:
    """Gives random inputs of three decimals; what lies past the stop token is as live as in TRL."""
    torch.manual_seed(12)
    responses = torch.tensor(RESPONSES)
    shape = responses.shape

    def normal(mean: float, std: float) -> Tensor:
        return (mean + std * torch.randn(shape, dtype=torch.float64)).round(decimals=3)

    logprobs = -normal(1.5, 0.8).abs()
    cut = trl_ppo.truncate_response(STOP, PAD, responses)
    last = first_true_indices(cut == PAD) - 1  # ppo_trainer.py:727
    return {
        "responses": responses,
        "answer_mask": torch.arange(shape[1])[None, :] <= last[:, None],
        "ended": (cut == STOP).any(dim=-1),  # ppo_trainer.py:757
        "scores": torch.tensor(SCORES, dtype=torch.float64),
        "logprobs": logprobs,
        "ref_logprobs": (logprobs + normal(-0.2, 0.3)).clamp(max=-0.001),
        "values": normal(0.3, 0.5),
        "new_logprobs": (logprobs + normal(0.0, 0.3)).clamp(max=-0.001),
        "new_values": normal(0.3, 0.5),
    }


def start_namespace(batch: dict[str, Tensor], **args: Any) -> dict[str, Any]:
    """Gives the local variables of PPOTrainer.train as they stand after line 769, with our two indices."""
    padding_mask = ~batch["answer_mask"]
    last = batch["answer_mask"].sum(dim=1) - 1
    names = vars(trl_ppo) | {k: v.clone() for k, v in batch.items()}
    names |= {"args": SimpleNamespace(kl_estimator="k1", **args), "micro_batch_inds": slice(None)}
    names |= {"padding_mask": padding_mask, "padding_mask_p1": padding_mask}
    names |= {"sequence_lengths": last, "sequence_lengths_p1": last}
    for name in ("logprobs", "ref_logprobs", "values"):
        run_trl(trl_ppo.PPOTrainer.train, f"{name} = torch.masked_fill", f"{name} = torch.masked_fill", names)
    return names


def kl_and_rewards(batch: dict[str, Tensor]) -> dict[str, Any]:
    """Runs ppo_trainer.py:773-779 and, for objective/kl, 882."""
    lines = ("logr = ref_logprobs", "rewards[actual_start, actual_end] +=")
    names = start_namespace(batch, kl_coef=0.05)
    run_trl(trl_ppo.PPOTrainer.train, *lines, names)
    run_trl(trl_ppo.PPOTrainer.train, "mean_kl =", "mean_kl =", names)
    unchanged = start_namespace(batch, kl_coef=0.05)
    unchanged["sequence_lengths_p1"] = unchanged["sequence_lengths"] + 1
    run_trl(trl_ppo.PPOTrainer.train, *lines, unchanged)
    k3 = start_namespace(batch, kl_coef=0.05)
    k3["args"].kl_estimator = "k3"
    run_trl(trl_ppo.PPOTrainer.train, *lines, k3)
    return {
        "kl": {"k1": names["kl"], "k3": k3["kl"], "mean_kl": names["mean_kl"]},
        "rewards": {"kl_coef": 0.05, "rewards": names["rewards"], "trl_unchanged": unchanged["rewards"]},
    }


def gae(batch: dict[str, Tensor], rewards: Tensor, gamma: float, lam: float) -> dict[str, Any]:
    """Runs ppo_trainer.py:787-796."""
    names = start_namespace(batch, gamma=gamma, lam=lam) | {"rewards": rewards}
    run_trl(trl_ppo.PPOTrainer.train, "lastgaelam = 0", "returns = advantages + values", names)
    return {"gamma": gamma, "gae_lambda": lam, "advantages": names["advantages"], "returns": names["returns"]}


def whitened(advantages: Tensor, answer_mask: Tensor) -> dict[str, Tensor]:
    """Calls TRL's functions; `biased` is the masked_whiten of arXiv:2403.17031 from TRL's parts."""
    mean = trl_ppo.masked_mean(advantages, answer_mask)
    var = trl_ppo.masked_var(advantages, answer_mask, unbiased=False)
    biased = (advantages - mean) * torch.rsqrt(var + 1e-8)
    unbiased = trl_ppo.masked_whiten(advantages, answer_mask)
    return {
        "mean": mean,
        "whitened": biased.masked_fill(~answer_mask, 0),
        "trl_unchanged": unbiased.masked_fill(~answer_mask, 0),
    }


def losses(batch: dict[str, Tensor], advantages: Tensor, returns: Tensor) -> dict[str, Any]:
    """Runs ppo_trainer.py:824-826, 828-837 and 841-846, and backward; 852 for the share of clipped tokens."""
    names = start_namespace(batch, cliprange=0.2, cliprange_value=0.2)
    new_logprobs = batch["new_logprobs"].clone().requires_grad_()
    vpred = batch["new_values"].clone().requires_grad_()
    names |= {"new_logprobs": new_logprobs, "vpred": vpred, "mb_return": returns}
    names |= {"mb_logprobs": names["logprobs"], "mb_values": names["values"], "mb_advantage": advantages}
    train = trl_ppo.PPOTrainer.train
    run_trl(train, "new_logprobs = torch.masked_fill", "new_logprobs = torch.masked_fill", names)
    run_trl(train, "vpred = torch.masked_fill", "vf_loss = 0.5", names)
    run_trl(train, "logprobs_diff =", "pg_loss = masked_mean", names)
    (names["pg_loss"] + names["vf_loss"]).backward()
    pg_loss, vf_loss = names["pg_loss"].detach(), names["vf_loss"].detach()
    # TRL counts a token as clipped only where the clipped term is the larger one; an advantage with the sign
    # of (ratio - 1) makes that every token outside the range.
    names["mb_advantage"] = torch.sign(names["ratio"].detach() - 1)
    run_trl(train, "logprobs_diff =", "pg_loss = masked_mean", names)
    run_trl(train, "pg_clipfrac = masked_mean", "pg_clipfrac = masked_mean", names)
    return {
        "policy_loss": {"clip_range": 0.2, "loss": pg_loss, "grad": new_logprobs.grad},
        "value_loss": {"clip_range_value": 0.2, "loss": vf_loss, "grad": vpred.grad},
        "clip_ratio": {"clip_range": 0.2, "clip_ratio": names["pg_clipfrac"]},
    }


def kwise() -> dict[str, Any]:
    """Expands each question into its untied pairs and runs reward_trainer.py:757 on them."""
    line = "loss = -nn.functional.logsigmoid(rewards_chosen - rewards_rejected)"
    questions = [torch.tensor(s, dtype=torch.float64, requires_grad=True) for s, _ in RANKINGS]
    per_question = []
    for scores, (_, ranks) in zip(questions, RANKINGS, strict=True):
        known = [(rank, i) for i, rank in enumerate(ranks) if rank is not None]
        pairs = [(i, j) for (rank_i, i), (rank_j, j) in itertools.permutations(known, 2) if rank_i < rank_j]
        if pairs:
            winners, losers = map(list, zip(*pairs, strict=True))
            names = vars(trl_reward) | {"rewards_chosen": scores[winners], "rewards_rejected": scores[losers]}
            run_trl(trl_reward.RewardTrainer.compute_loss, line, line, names)
            per_question.append(names["loss"])
    loss = torch.stack(per_question).mean()
    loss.backward()
    return {
        "scores": [scores.detach() for scores in questions],
        "ranks": [ranks for _, ranks in RANKINGS],
        "loss": loss.detach(),
        "num_groups": len(per_question),
        "grad": [torch.zeros_like(q) if q.grad is None else q.grad for q in questions],
    }


def to_json(golden: dict[str, Any]) -> str:
    """Writes tensors as lists, one row a line, twelve decimals."""

    def to_list(tensor: Tensor) -> Any:
        # + 0.0 turns -0.0 into 0.0
        return (tensor.round(decimals=12) + 0.0).tolist() if tensor.is_floating_point() else tensor.tolist()

    def one_line(row: re.Match[str]) -> str:
        return "[" + ", ".join(part.strip() for part in row[1].split(",")) + "]"

    return re.sub(r"\[([^\[\]{}]*)\]", one_line, json.dumps(golden, default=to_list, indent=1)) + "\n"


def main() -> None:
    """Writes trl_1_12.json beside this file."""
    if trl.__version__ != "1.12.0":
        raise SystemExit(f"trl is {trl.__version__}; these lines were read in trl==1.12.0")
    batch = sample_batch()
    golden: dict[str, Any] = {"made_by": "make_trl_golden.py, trl 1.12.0, float64", "batch": batch}
    golden |= kl_and_rewards(batch)
    rewards = golden["rewards"]["rewards"]
    golden["gae"] = [gae(batch, rewards, *c) for c in ((1.0, 0.95), (0.97, 0.9), (1.0, 1.0))]
    golden["whiten"] = whitened(golden["gae"][0]["advantages"], batch["answer_mask"])
    golden |= losses(batch, golden["whiten"]["whitened"], golden["gae"][0]["returns"])
    golden["kwise"] = kwise()
    (Path(__file__).parent / "trl_1_12.json").write_text(to_json(golden))


if __name__ == "__main__":
    main()
