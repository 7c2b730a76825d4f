"""Other teams install the client without torch; a clean interpreter shows whether it stays that way."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "pydantic", "typer", "tritonclient", "rewardplane.modeling")

USE_EVERYTHING = """
import rewardplane
for name in rewardplane.__all__:
    getattr(rewardplane, name)
import rewardplane.__main__
client = rewardplane.Client("127.0.0.1:1")
pair = rewardplane.TokenPair([1, 2], [3])
"""


def run(code: str) -> str:
    """Runs code in an interpreter of its own and gives what it wrote."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_client_loads_nothing_heavy():
    loaded = run(USE_EVERYTHING + "import sys; sys.stdout.write(' '.join(sys.modules))").split()
    assert not [name for name in HEAVY if name in loaded]


def test_importing_the_package_alone_loads_not_even_grpc():
    loaded = run("import rewardplane, sys; sys.stdout.write(' '.join(sys.modules))").split()
    assert "rewardplane" in loaded
    assert not [name for name in (*HEAVY, "grpc", "numpy") if name in loaded]


def test_the_client_works_where_nothing_heavy_is_installed():
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"  # None: import raises
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        run(blocked + "import torch")
    run(blocked + USE_EVERYTHING)


def test_star_import_and_dir_offer_every_public_name():
    assert run("from rewardplane import *\nClient, errors = Client, None\nassert 'Scores' in dir()") == ""
    run("import rewardplane; assert set(rewardplane.__all__) <= set(dir(rewardplane))")


def test_an_unknown_name_is_an_attribute_error():
    assert run("import rewardplane; assert not hasattr(rewardplane, 'Nothing')") == ""


def test_the_ranking_page_is_served_without_torch():
    code = "import rewardplane.trainer.labelling.app, rewardplane.trainer.labelling.command, sys"
    loaded = run(code + "; sys.stdout.write(' '.join(sys.modules))").split()
    assert "starlette" in loaded
    assert not [name for name in ("torch", "transformers", "pyarrow", "fsspec") if name in loaded]
