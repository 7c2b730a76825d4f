"""The demo's data: an archive in upstream's format made here, and the real sdist beside known rows of it."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from rewardplane.trainer.data import read_demonstrations, read_prompts, read_ranked, read_texts
from rewardplane.trainer.demo import package_index, vader_data, vader_sdist
from rewardplane.trainer.demo.prepare import (
    PrepareConfig,
    prepare,
    question_rows,
    ranked_groups,
)
from rewardplane.trainer.demo.vader_data import FILM, PRODUCT, TWEETS, RatedText
from rewardplane.trainer.jsonl import BadData, Row

SHARED_DATASETS = Path(__file__).resolve().parents[2] / "shared" / "data" / "datasets"
STEMS = ("movieReviewSnippets", "amazonReviewSnippets", "tweets")
FILES = {
    "movieReviewSnippets": [
        ("1", "2", "''Cherish'' certainly isn't dull.", [2, 2, 2]),
        ("2", "-1", "A dull film.", [-1, -2, 0]),
        ("3", "-1.5", "a  DULL film.", [-2, -1]),  # the second text again, by other raters
    ],
    "amazonReviewSnippets": [
        ("1_1", "1", "drag &amp; drop is easy.", [1, 1]),
        ("1_2", "0", "!", [0, 0]),  # no text
    ],
    # The stated mean, 1.44, is not that of the ratings.
    "tweets": [("1", "1.44", "Yay. Another good phone interview.", [3, 2, 2, 2])],
}


def tarball(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_sdist(path: Path, files: dict[str, list[tuple[str, str, str, list[int]]]]) -> Path:
    """Writes an sdist as upstream's: CR LF in one file, a byte order mark in another, none at the end."""
    members = {}
    for stem, rows in files.items():
        texts = "\r\n".join(f"{i}\t{mean}\t{text}" for i, mean, text, _ in rows)
        ratings = "\n".join(f"{i}\t{mean}\t0.5\t{listed}" for i, mean, _, listed in rows)
        members[f"hutto_ICWSM_2014/{stem}_GroundTruth.txt"] = texts.encode()
        members[f"hutto_ICWSM_2014/{stem}_anonDataRatings.txt"] = b"\xef\xbb\xbf" + ratings.encode()
    path.write_bytes(tarball({vader_sdist.RATINGS_ARCHIVE: tarball(members)}))
    return path


def no_index(monkeypatch: pytest.MonkeyPatch, find_links: Path) -> None:
    """Leaves pip nothing but a directory."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(find_links))


def rated(count: int, source: str = FILM) -> list[RatedText]:
    return [
        RatedText(source, str(i), f"{source} number {i} has words one two three four five", (i % 9 - 4, 0))
        for i in range(count)
    ]


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_texts_come_with_their_raw_ratings_and_once(tmp_path: Path) -> None:
    texts = vader_data.parse_sdist(write_sdist(tmp_path / "sdist.tar.gz", FILES))

    assert [(t.source, t.text_id, t.text, t.rating) for t in texts] == [
        (FILM, "1", '"Cherish" certainly isn\'t dull.', 2.0),
        (FILM, "2", "A dull film.", -1.0),
        (PRODUCT, "1_1", "drag & drop is easy.", 1.0),
        (TWEETS, "1", "Yay. Another good phone interview.", 2.25),
    ]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("4", "1", "Fine.", [5]), "whole numbers from -4 to 4"),
        (("4", "1", "Fine.", []), "whole numbers from -4 to 4"),
        (("4", "1", "Fine.", "2"), "whole numbers from -4 to 4"),
        (("4", "1", "Fine.", "[true]"), "whole numbers from -4 to 4"),
        (("1", "1", "Fine.", [1]), "a new id"),
        (("4", "1", "Fine.\tToo many columns.", [1]), "3 columns"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: tuple[str, str, str, list[int]], complaint: str) -> None:
    files = FILES | {"movieReviewSnippets": [*FILES["movieReviewSnippets"], row]}

    with pytest.raises(BadData, match=complaint):
        vader_data.parse_sdist(write_sdist(tmp_path / "sdist.tar.gz", files))


def test_an_archive_without_the_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sdist.tar.gz"
    path.write_bytes(tarball({vader_sdist.RATINGS_ARCHIVE: tarball({"../tweets_GroundTruth.txt": b"x"})}))
    with pytest.raises(package_index.PackageUnavailable, match="no member 'hutto_ICWSM_2014/tweets"):
        vader_sdist.read_ratings_files(path, ["tweets_GroundTruth.txt"])

    path.write_bytes(b"no archive")
    with pytest.raises(package_index.PackageUnavailable, match="not a readable archive"):
        vader_sdist.read_ratings_files(path, ["tweets_GroundTruth.txt"])
    assert list(tmp_path.iterdir()) == [path]  # nothing was unpacked


def test_a_link_in_the_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("hutto_ICWSM_2014/tweets_GroundTruth.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    path = tmp_path / "sdist.tar.gz"
    path.write_bytes(tarball({vader_sdist.RATINGS_ARCHIVE: buffer.getvalue()}))

    with pytest.raises(package_index.PackageUnavailable, match="not a plain file"):
        vader_sdist.read_ratings_files(path, ["tweets_GroundTruth.txt"])


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({"XDG_CACHE_HOME": "/var/cache"}, Path("/var/cache/rewardplane")),
     ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache/rewardplane"),
     ({}, Path.home() / ".cache/rewardplane")],
)  # fmt: skip
def test_cache_directory_follows_xdg(environ: dict[str, str], expected: Path) -> None:
    assert package_index.cache_directory(environ) == expected


def test_without_an_index_the_error_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch, find_links=tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / vader_sdist.SDIST.file_name).write_bytes(b"half a download")

    with pytest.raises(package_index.PackageUnavailable, match="No matching distribution") as caught:
        package_index.obtain(vader_sdist.SDIST, cache)
    assert str(cache / vader_sdist.SDIST.file_name) in str(caught.value)
    assert [path.name for path in cache.iterdir()] == [vader_sdist.SDIST.file_name]  # no half download is left


def test_pip_refuses_a_file_with_another_hash_before_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    setup = f"import pathlib, setuptools\npathlib.Path({str(ran)!r}).touch()\nsetuptools.setup()\n"
    info = b"Metadata-Version: 2.1\nName: vaderSentiment\nVersion: 3.3.2\n"
    (tmp_path / vader_sdist.SDIST.file_name).write_bytes(
        tarball({"vaderSentiment-3.3.2/setup.py": setup.encode(), "vaderSentiment-3.3.2/PKG-INFO": info})
    )
    no_index(monkeypatch, find_links=tmp_path)

    with pytest.raises(package_index.PackageUnavailable, match="Expected sha256 5d7c06e0"):
        package_index.obtain(vader_sdist.SDIST, tmp_path / "cache")
    assert not ran.exists()


def test_split_keeps_siblings_of_a_text_on_one_side() -> None:
    for siblings in (("Anger is ugly.", "anger  IS ugly!!!"), ("Damn, running late.", "damn! RUNNING late")):
        assert len({vader_data.is_held_out(text) for text in siblings}) == 1
    texts = tuple(rated(5000))
    training, held_out = vader_data.split_texts(texts)
    assert len(training) + len(held_out) == len(texts)
    assert set(training) | set(held_out) == set(texts)
    # A binomial with p = 0.1 and n = 5000 has a standard deviation of 21: five of them.
    assert abs(len(held_out) - 500) < 106


def test_question_and_answer_make_the_text_again() -> None:
    texts = [RatedText(FILM, "1", "One  two three four five six seven eight nine ten", (1,)),
             RatedText(FILM, "2", "only four words here", (1,)),
             RatedText(FILM, "3", "these are just five words", (1,))]  # fmt: skip
    for seed in range(20):
        rows = question_rows(texts, (4, 8), np.random.default_rng(seed))
        whole = sorted(str(row["question"]) + str(row["answer"]) for row in rows)
        assert whole == [texts[0].text, texts[2].text]
        for row in rows:
            assert 4 <= len(str(row["question"]).split()) <= 8
            assert str(row["answer"]).startswith(" ")
            assert str(row["answer"]).strip()


def test_groups_use_every_text_once_and_never_mix_sources() -> None:
    texts = rated(19) + rated(20, PRODUCT)
    by_text = {text.text: text for text in texts}

    groups = ranked_groups(texts, 9, np.random.default_rng(0))

    # 19 = 9 + 10, the single left-over text joining the last group; 20 = 9 + 9 + 2.
    assert sorted(len(group["answers"]) for group in groups) == [2, 9, 9, 9, 10]
    assert sorted(answer for group in groups for answer in group["answers"]) == sorted(by_text)
    for group in groups:
        assert len({by_text[answer].source for answer in group["answers"]}) == 1
        assert group["ratings"] == [by_text[answer].rating for answer in group["answers"]]


def test_prepared_files_repeat_with_the_seed_and_keep_held_out_texts_apart(tmp_path: Path) -> None:
    texts = rated(900) + rated(300, PRODUCT)
    config = PrepareConfig(held_out_prompts=5, group_epochs=2)
    first, _ = (prepare(texts, tmp_path / name, config) for name in ("a", "b"))
    other = prepare(texts, tmp_path / "c", PrepareConfig(held_out_prompts=5, group_epochs=2, seed=1))

    training, held_out = vader_data.split_texts(tuple(texts))
    assert (first.training_texts, first.heldout_texts) == (len(training), len(held_out))
    for path in (first.sft, first.ranked, first.prompts, first.prompts_heldout, first.pretraining):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert first.ranked.read_bytes() != other.ranked.read_bytes()
    assert sorted(row["answer"] for row in rows_of(first.sft)) == sorted(t.text for t in training)
    assert sorted(row["text"] for row in rows_of(first.pretraining)) == sorted(t.text for t in training)
    ranked = [answer for row in rows_of(first.ranked) for answer in row["answers"]]
    assert sorted(ranked) == sorted([t.text for t in training] * 2)
    film = [answer for row in rows_of(first.ranked_heldout) for answer in row["answers"]]
    assert sorted(film) == sorted(t.text for t in held_out if t.source == FILM)
    # The trainers' own readers accept every file.
    assert len(read_demonstrations(first.sft)) == len(read_texts(first.pretraining)) == len(training)
    assert {len(group.answers) for group in read_ranked(first.ranked)} >= {9}
    assert len(read_prompts(first.prompts)) > 0.9 * len(training)
    questions = [row["question"] for row in rows_of(first.prompts_heldout)]
    assert len(set(questions)) == 5
    assert not set(questions) & {row["question"] for row in rows_of(first.prompts)}


def test_too_few_held_out_texts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="256 held-out prompts"):
        prepare(rated(100), tmp_path / "out", PrepareConfig())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SHARED_DATASETS.is_dir(), reason="needs the same archive read by another program")
def test_the_real_sdist_gives_the_rows_that_another_reader_found(tmp_path: Path) -> None:
    try:
        texts = vader_data.load_rated_texts(tmp_path)
    except package_index.PackageUnavailable as error:
        pytest.skip(f"needs a package index: {error}")
    found = {(text.source, text.text_id): text for text in texts}
    for source, name in ((FILM, "movie"), (PRODUCT, "amazon"), (TWEETS, "tweets")):
        for row in rows_of(SHARED_DATASETS / f"vader_{name}_ratings.jsonl"):
            text = found[source, str(row["id"]).partition(":")[2]]
            assert text.text == row["text"]
            assert text.rating == pytest.approx(row["rating"], abs=1e-4)
            assert len(text.ratings) == row["n_raters"]
            assert list(text.ratings[:20]) == row["ratings"]
