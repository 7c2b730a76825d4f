"""SFT -> RM 1 -> policy 1 -> RM 2 -> ...: what a round descends from, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from .place import Round
from .record import Labelled, Sampled


@dataclass(frozen=True)
class Node:
    """One model, or the rankings between two."""

    name: str
    """"SFT", "RM 1"."""
    kind: str
    """model, rankings or missing."""
    digest: str
    """Empty where it is not made yet."""
    facts: tuple[str, ...]


def nodes(made: Round) -> list[Node]:
    """From the SFT model to what this round is to train; what is missing has no digest."""
    first = made.lineage()[0].record
    return [
        Node("SFT", "model", first.sft_digest, ("reference of every round",)),
        *(node for one in made.lineage() for node in _of_round(one)),
    ]


def next_step(made: Round) -> str:
    """The command that goes on."""
    record, place = made.record, quote(made.place)
    if record.sampled is None:
        return f"rewardplane round sample {place}"
    if record.labelled is None:
        # The page works on a directory.
        page = f"rewardplane label {quote(str(made.directory)) if made.remote else place} --ranker NAME"
        if record.settings.label.per_item > 1:
            page += f" --per-item {record.settings.label.per_item}"
        return f"{page}, then rewardplane round label {place}"
    if record.reward is None or record.policy is None:
        return f"rewardplane round train {place}"
    return f"rewardplane round start NEXT --parent {place}"


def lineage_text(made: Round) -> str:
    """A few lines for a terminal."""
    lines = []
    for i, node in enumerate(nodes(made)):
        lines.append(f"{'' if i == 0 else '-> '}{node.name:<12} {node.digest[:12] or 'not yet'}")
        lines += [f"       {fact}" for fact in node.facts]
    return "\n".join([*lines, f"next: {next_step(made)}"])


def _of_round(one: Round) -> Iterator[Node]:
    number, record = one.record.number, one.record
    yield Node(
        f"rankings {number}",
        "rankings" if record.labelled else "missing",
        record.labelled.rankings_digest if record.labelled else "",
        tuple(_about_rankings(record.sampled, record.labelled)),
    )
    reward = record.reward
    facts = []
    if reward:
        facts.append(f"learnt the rankings of round {', '.join(map(str, reward.rounds))}")
        facts += [f"held-out rankings {number}, pairs in order: {reward.accuracy}"] if reward.accuracy else []
        facts += [f"the same of RM {number - 1}: {reward.last_accuracy}"] if reward.last_accuracy else []
    yield Node(f"RM {number}", "model" if reward else "missing", reward.digest if reward else "", tuple(facts))
    policy = record.policy
    facts = [f"{policy.updates} PPO updates, KL {policy.kl_nats:.1f} nats an answer to SFT"] if policy else []
    yield Node(f"policy {number}", "model" if policy else "missing", policy.digest if policy else "", tuple(facts))


def _about_rankings(sampled: Sampled | None, labelled: Labelled | None) -> Iterator[str]:
    if sampled:
        choice = "at random" if sampled.choice == "random" else f"by {sampled.choice}"
        yield (
            f"{sampled.questions} questions chosen {choice} of {sampled.pool}, K = {sampled.answers}, "
            f"answers of {sampled.policy_digest[:12]}"
        )
    if labelled:
        time = f"{labelled.seconds / 3600:.1f} {'simulated ' if labelled.simulated else ''}hours"
        yield f"{labelled.rankings} rankings to learn, {labelled.heldout} held out, {time}"
        if labelled.simulated:
            yield (
                f"ranked by a SIMULATED ranker ({labelled.simulated.name}), no person; it agrees with the lexicon in "
                f"{labelled.simulated.agreement:.2f} of pairs"
            )
