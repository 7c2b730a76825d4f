"""`rewardplane info`, `rewardplane score` and the way to the commands of other parts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from peer_server import Peer

from rewardplane.__main__ import main


def run(*arguments, prelude=""):
    """Runs the command in an interpreter of its own."""
    code = f"import sys\n{prelude}\nimport rewardplane.__main__ as m\nsys.exit(m.main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_score_writes_one_line_for_each_answer(served, capsys):
    code = main(["score", served(Peer()), "--question", "q", "--answer", "0", "--answer=-1.5"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines == [{"score": 0.0, "answer": "0"}, {"score": -1.5, "answer": "-1.5"}]


def test_info_writes_json(served, capsys):
    assert main(["info", served(Peer()), "--timeout-s", "20"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["model_version"]["checkpoint_digest"] == "digest-1"
    assert (info["score_kind"], info["load_time"]) == ("reward", "2026-11-01T12:00:00+00:00")


def test_a_failure_is_one_line_that_names_the_server(served, capsys):
    assert main(["info", "127.0.0.1:1", "--timeout-s", "0.2"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rewardplane: 127.0.0.1:1: UNAVAILABLE")
    assert "Traceback" not in error
    assert main(["info", "127.0.0.1:1", "--timeout-s", "-1"]) == 1
    assert "wanted is" in capsys.readouterr().err


def test_wrong_usage_is_status_2(capsys):
    for arguments in ([], ["score", "127.0.0.1:1"], ["nothing"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"rewardplane {version('rewardplane')}\n"


def test_help_lists_the_commands_of_every_part():
    finished = run("--help")
    assert finished.returncode == 0
    assert all(f"\n    {name} " in finished.stdout for name in ("info", "score", "serve", "train", "demo"))


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Installs a distribution that adds the command `fly`, and gives the file of its module."""
    installed = tmp_path / "part-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: part\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[rewardplane.commands]\nfly = flying_part:fly\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "flying_part.py"


def test_a_part_gets_its_arguments_and_decides_the_status(part):
    part.write_text("def fly(argv): return {('--high', 'score'): 64}[tuple(argv)]")
    assert run("fly", "--high", "score").returncode == 64


def test_a_part_without_its_dependencies_names_the_extra(part):
    part.write_text("import wings.of_wax")
    finished = run("fly")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == (
        "rewardplane: `rewardplane fly` needs wings, which is not installed. "
        "Install it with: pip install 'rewardplane[fly]'\n"
    )


def test_a_fault_in_a_part_is_not_taken_for_a_missing_dependency(part):
    part.write_text("import rewardplane.nothing_here")
    assert "No module named 'rewardplane.nothing_here'" in run("fly").stderr


@pytest.mark.parametrize(("command", "extras"), [("serve", "serve"), ("train", "train"), ("demo", "serve,train,demo")])
def test_a_command_that_is_not_installed_names_the_extra(command, extras):
    # What a part imports first differs; without any of these none of them can start.
    absent = "sys.modules.update(dict.fromkeys(['torch', 'typer', 'pydantic', 'transformers', 'rich']))"
    finished = run(command, "--help", prelude=absent)
    assert finished.returncode == 1
    assert f"pip install 'rewardplane[{extras}]'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_module_runs_as_a_program():
    finished = subprocess.run(
        [sys.executable, "-m", "rewardplane", "--version"], capture_output=True, text=True, check=True
    )
    assert finished.stdout.startswith("rewardplane ")
