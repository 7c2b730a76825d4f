"""`rewardplane round label`: takes the rankings in, or has a simulated ranker make them."""

from __future__ import annotations

from ..config import ConfigError
from ..labelling.items import ITEMS, Item, read_items
from ..labelling.store import STORE, LabelStore
from .lexicon_ranker import SIMULATED, expected_agreement, fit_noise, item_scores, rank_all
from .names import RANKINGS
from .place import Round
from .rankings import split_rankings
from .record import Labelled, SimulatedRanker, file_digest


def label_round(made: Round, *, simulate: bool = False, partial: bool = False) -> Round:
    """Raises ConfigError where items are not ranked yet, unless `partial` takes what is there.

    A round whose rankings are in stays as it is.
    """
    if made.record.labelled is not None:
        return made
    items = _items(made)
    settings = made.record.settings
    with LabelStore(made.directory / STORE, items, per_item=settings.label.per_item, seed=settings.seed) as store:
        simulated = None
        if simulate:
            simulated = simulated_ranker(made, items)
            rank_all(store, simulated.noise, settings.seed)
        rankings = store.rankings()
    own, others = (
        [one for one in rankings if one.ranker.startswith(SIMULATED) is is_simulated] for is_simulated in (True, False)
    )
    if own and others:
        raise ConfigError(
            f"{made.place}: people made {len(others)} rankings and the simulated ranker {len(own)}; only one may rank"
        )
    if own and simulated is None:
        simulated = simulated_ranker(made, items)
    wanted = len(items) * settings.label.per_item
    if len(rankings) < wanted and not partial:
        raise ConfigError(
            f"{made.place}: {len(rankings)} of {wanted} rankings are there; `rewardplane label {made.place}` goes on, "
            "and --partial trains on what is there"
        )
    training, heldout = split_rankings(made.directory, rankings, items, settings.label.heldout_ratio)
    if not training or not heldout:
        raise ConfigError(f"{made.place}: {training} rankings to train on and {heldout} kept from it; both are needed")
    labelled = Labelled(
        rankings=training, heldout=heldout, seconds=sum(one.seconds for one in rankings), simulated=simulated,
        rankings_digest=file_digest(made.directory / RANKINGS),
    )  # fmt: skip
    return made.with_step(labelled=labelled)


def simulated_ranker(made: Round, items: list[Item]) -> SimulatedRanker:
    """The noise is fitted in the first round; a person's does not change with the answers."""
    scores = item_scores(items)
    before = [one.record.labelled.simulated for one in made.lineage()[:-1] if one.record.labelled is not None]
    noise = next((one.noise for one in before if one is not None), None) or fit_noise(scores)
    return SimulatedRanker(name=SIMULATED, noise=noise, agreement=expected_agreement(scores, noise))


def _items(made: Round) -> list[Item]:
    """Raises ConfigError where none were sampled, or others are there now."""
    if made.record.sampled is None:
        raise ConfigError(f"{made.place}: {made.name} has no items: `rewardplane round sample` comes first")
    if file_digest(made.directory / ITEMS) != made.record.sampled.items_digest:
        raise ConfigError(f"{made.directory / ITEMS} is not what was sampled: put it back")
    return read_items(made.directory)
