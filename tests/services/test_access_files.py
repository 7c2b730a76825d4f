"""Access files that cannot be used stop the start, and say where the fault is."""

from __future__ import annotations

import json
import logging
import os

import pytest
from access_files import AccessFiles, Issuer
from rewardplane.services.common.access.book import AccessBook
from rewardplane.services.common.access.rules import BadAccessFile
from rewardplane.services.common.access.token_file import match, read_tokens
from servers import Process, served

from rewardplane.__main__ import main

RULES = 'capabilities = ["score"]'


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ('capabilities = ["scores"]', "identities.team.capabilities.0"),
        ("", "identities.team.capabilities: Field required"),
        (f"{RULES}\nquota = 3", "identities.team.quota"),
        (f"{RULES}\ntokens_per_second = 0", "identities.team.tokens_per_second"),
        (f"{RULES}\nweight = -1", "identities.team.weight"),
        (f"{RULES}\npriority = 'highest'", "identities.team.priority"),
        (f"{RULES}\njwt_subjects = ['a']", r"identities.team.jwt_subjects: there is no \[jwt\]"),
        (f"{RULES}\n[identities.'a b']\n{RULES}", "identities.a b"),
        (
            f"{RULES}\ncertificate_names = ['x']\n[identities.two]\n{RULES}\ncertificate_names = ['x']",
            "identities.two.certificate_names: x is also identities.team's",
        ),
    ],
)
def test_a_wrong_key_is_named(tmp_path, rules, named):
    files = AccessFiles(tmp_path, team="")
    files.write("", team=rules)
    with pytest.raises(BadAccessFile, match=named):
        AccessBook(files.path)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("team abc", "line 2: wanted is IDENTITY SHA256"),
        (f"team {'0' * 64} someday", "line 2: Invalid isoformat"),
        (f"team {'x' * 64}", "line 2: non-hexadecimal"),
        (f"nobody {'0' * 64}", "line 2: identities has no nobody"),
    ],
)
def test_a_wrong_line_of_the_token_file_is_named(tmp_path, line, named):
    files = AccessFiles(tmp_path, team=RULES)
    files.tokens_path.write_text(f"# tokens\n{line}\n")
    with pytest.raises(BadAccessFile, match=named):
        AccessBook(files.path)


def test_keys_that_could_also_sign_are_refused(tmp_path):
    Issuer(tmp_path)
    files = AccessFiles(tmp_path, team="")
    files.write(Issuer.table.replace("EdDSA", "HS256"), team=RULES)
    with pytest.raises(BadAccessFile, match=r"jwt\.algorithms\.0"):
        AccessBook(files.path)
    files.write(Issuer.table, team=RULES)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0", "kid": "one"}]}))
    with pytest.raises(BadAccessFile, match=r"jwt\.jwks"):
        AccessBook(files.path)


def test_the_start_stops_and_says_the_flag(reward_dir, tmp_path):
    process = Process("reward", reward_dir, tmp_path, "--access", str(tmp_path / "none.toml"))
    try:
        assert process.process.wait(60) == 2
        assert "--access: " in process.log()
        assert "none.toml cannot be read" in process.log()
    finally:
        process.close()


def test_the_token_command_makes_a_token_and_its_line(tmp_path, capsys):
    assert main(["token", "team-a", "--to", str(tmp_path / "secret"), "--days", "1"]) == 0
    (tmp_path / "lines").write_text(capsys.readouterr().out)
    secret = (tmp_path / "secret").read_text().strip()
    assert os.stat(tmp_path / "secret").st_mode & 0o777 == 0o600
    lines = read_tokens(tmp_path / "lines", ["team-a"])
    assert match(lines, secret) is lines[0]
    assert match(lines, secret + "x") is None


def test_an_open_server_beyond_this_machine_warns(reward_dir, caplog):
    with caplog.at_level(logging.WARNING), served("reward", reward_dir, host="0.0.0.0"):
        pass
    assert "ANYBODY who reaches 0.0.0.0" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), served("reward", reward_dir):
        pass
    assert "ANYBODY" not in caplog.text
