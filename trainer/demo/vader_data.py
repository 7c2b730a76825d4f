"""Texts with the ratings that people gave them: film and product reviews and tweets.

Four traps in the files: 199 tweets state a mean that is not the mean of their raw ratings (the raw ratings
are used); some texts occur twice with other raters (the first is kept); quotes are written as two
apostrophes and ampersands as HTML entities; upstream sorts the film texts by class, so that a head of the
file is no sample. The New York Times editorials in the same archive are left out: their text belongs to
the newspaper, whatever licence the ratings carry.
"""

import hashlib
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..jsonl import BadData
from .package_index import obtain
from .vader_sdist import SDIST, read_ratings_files

FILM, PRODUCT, TWEETS = "film", "product", "tweets"
SNIPPETS = {FILM: "movieReviewSnippets", PRODUCT: "amazonReviewSnippets", TWEETS: "tweets"}
HELD_OUT_RATIO = 0.1


@dataclass(frozen=True)
class RatedText:
    source: str  # "film", "product" or "tweets"
    text_id: str  # as upstream numbers it inside the source
    text: str
    ratings: tuple[int, ...]  # one whole number from -4 to 4 a person, 15 people or more

    @property
    def rating(self) -> float:
        """The mean of what people said."""
        return sum(self.ratings) / len(self.ratings)


def load_rated_texts(cache_dir: Path) -> tuple[RatedText, ...]:
    """Downloads what the cache lacks and gives all texts, each once.

    Raises PackageUnavailable without the sdist and BadData if its files are not as documented.
    """
    return parse_sdist(obtain(SDIST, cache_dir))


def parse_sdist(sdist: Path) -> tuple[RatedText, ...]:
    """Gives the rated texts of an sdist, sources in order, equal texts (but for case and blanks) once."""
    parts = ("GroundTruth", "anonDataRatings")
    names = [f"{stem}_{part}.txt" for stem in SNIPPETS.values() for part in parts]
    files = read_ratings_files(sdist, names)
    first: dict[str, RatedText] = {}
    for source, stem in SNIPPETS.items():
        ratings = _parse_ratings(_rows(files, f"{stem}_anonDataRatings.txt", columns=4))
        texts = _rows(files, f"{stem}_GroundTruth.txt", columns=3)
        if ratings.keys() != texts.keys():
            odd = sorted(ratings.keys() ^ texts.keys())[:5]
            raise BadData(f"{stem}: the ids {odd} are in only one of the two files")
        for text_id, (_, raw) in texts.items():
            text = clean_text(raw)
            if re.search(r"\w", text):  # a lone "!" is no text
                first.setdefault(_same_text_key(text), RatedText(source, text_id, text, ratings[text_id]))
    return tuple(first.values())


def clean_text(raw: str) -> str:
    """Undoes upstream's escaping: HTML entities, and two apostrophes for a double quote."""
    return html.unescape(raw).replace("''", '"').strip()


def is_held_out(text: str, ratio: float = HELD_OUT_RATIO) -> bool:
    """Decides by a hash of the words alone whether a text is kept from all training.

    Case, blanks and punctuation do not count: the tweets hold "Anger is ugly.", "Anger is ugly!" and
    "Anger is ugly!!!" with three ratings, and such siblings must be on one side.
    """
    words = " ".join(re.findall(r"\w+", text.casefold()))
    digest = hashlib.sha256(words.encode()).digest()
    return int.from_bytes(digest[:8], "big") < ratio * 2**64


def split_texts(
    texts: tuple[RatedText, ...], ratio: float = HELD_OUT_RATIO
) -> tuple[tuple[RatedText, ...], tuple[RatedText, ...]]:
    """Gives (training texts, held-out texts), each in the given order."""
    held_out = [is_held_out(text.text, ratio) for text in texts]
    training = tuple(text for text, out in zip(texts, held_out, strict=True) if not out)
    return training, tuple(text for text, out in zip(texts, held_out, strict=True) if out)


def _same_text_key(text: str) -> str:
    return " ".join(text.casefold().split())


def _rows(files: dict[str, bytes], name: str, columns: int) -> dict[str, list[str]]:
    """Gives id -> the other columns. Some files begin with a byte order mark; lines may end with CR LF."""
    rows: dict[str, list[str]] = {}
    for number, line in enumerate(files[name].decode("utf-8-sig").split("\n"), start=1):
        fields = line.strip("\r\n").split("\t")
        if fields == [""]:
            continue
        if len(fields) != columns or fields[0] in rows:
            problem = f"expected {columns} columns and a new id"
            raise BadData(f"{name} line {number}: {problem}: {line!r:.200}")
        rows[fields[0]] = fields[1:]
    return rows


def _parse_ratings(rows: dict[str, list[str]]) -> dict[str, tuple[int, ...]]:
    """Reads the raw ratings "[3, 2, ...]" of every id."""
    ratings = {}
    for text_id, (_, _, listed) in rows.items():
        try:
            values = tuple(json.loads(listed))
        except (ValueError, TypeError):
            values = ()
        # `type` and not isinstance: True is an int and no rating.
        if not values or any(type(value) is not int or abs(value) > 4 for value in values):
            problem = "ratings must be a list of whole numbers from -4 to 4"
            raise BadData(f"text {text_id}: {problem}: {listed!r:.200}")
        ratings[text_id] = values
    return ratings
