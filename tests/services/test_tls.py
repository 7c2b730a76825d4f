"""TLS and mutual TLS between the servers, the client, the judges and the command line."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import time
import urllib.request

import grpc
import pytest
from certificates import Authority
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rewardplane.services.common.config import ServerConfig, WrongSetting
from rewardplane.services.common.tls import server_credentials
from servers import Process, served

from rewardplane import Client, RetryPolicy, TlsFiles, Unavailable
from rewardplane.__main__ import main

PAIR = ("How was it?", "Good.")
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_files(authority):
    return authority.issue("reward.test")


@pytest.fixture(scope="module")
def secured(reward_dir, authority, server_files):
    """A reward server that wants certificates of the authority."""
    with served(
        "reward",
        reward_dir,
        tls_cert=server_files.cert,
        tls_key=server_files.key,
        tls_client_ca=authority.ca,
        health_port=0,
    ) as server:
        yield server


def serial_shown(target: str, ca) -> str:
    """The serial number of the certificate that a server shows, over a new connection."""
    host, port = target.split(":")
    with ssl.create_default_context(cafile=str(ca)).wrap_socket(
        socket.create_connection((host, int(port))), server_hostname=host
    ) as connection:
        return connection.getpeercert()["serialNumber"]


def test_a_certificate_of_the_authority_opens_the_server(secured, authority):
    with Client(secured.target, tls=authority.issue("team-a.test"), timeout_s=10) as client:
        assert len(client.score([PAIR])) == 1


def test_without_a_certificate_nobody_comes_in(secured, authority):
    for tls in (None, TlsFiles(ca=authority.ca)):
        with Client(secured.target, tls=tls, retry=ONCE, timeout_s=5) as client, pytest.raises(Unavailable):
            client.score([PAIR])


def test_a_certificate_of_another_authority_or_an_expired_one_does_not_open(secured, authority, tmp_path):
    stranger = Authority(tmp_path / "other").issue("team-a.test")
    expired = authority.issue("expired.test", days=-1)
    for files in (TlsFiles(authority.ca, stranger.cert, stranger.key), expired):
        with Client(secured.target, tls=files, retry=ONCE, timeout_s=5) as client, pytest.raises(Unavailable):
            client.score([PAIR])


def test_the_client_checks_whom_it_talks_to(secured, authority, tmp_path):
    own = authority.issue("team-b.test")
    distrusting = TlsFiles(Authority(tmp_path / "elsewhere").ca, own.cert, own.key)
    other_name = TlsFiles(authority.ca, own.cert, own.key, server_name="reference.test")
    for files in (distrusting, other_name):
        with Client(secured.target, tls=files, retry=ONCE, timeout_s=5) as client, pytest.raises(Unavailable):
            client.score([PAIR])
    right_name = TlsFiles(authority.ca, own.cert, own.key, server_name="reward.test")
    with Client(secured.target, tls=right_name, timeout_s=10) as client:
        assert client.info().score_kind.value == "reward"


def test_health_has_a_port_without_tls(secured):
    with grpc.insecure_channel(f"127.0.0.1:{secured.server.health_port}") as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    urllib.request.urlopen(f"http://127.0.0.1:{secured.server.metrics_port}/metrics", timeout=5).close()


def test_replaced_certificates_are_used_without_a_restart(reward_dir, tmp_path):
    folder = tmp_path / "rotated"
    old = Authority(folder)
    files = old.issue("server.test")
    own = old.issue("client.test")
    with (
        served("reward", reward_dir, tls_cert=files.cert, tls_key=files.key, tls_client_ca=old.ca) as server,
        Client(server.target, tls=own, timeout_s=20) as client,
    ):
        before = list(client.score([PAIR]))
        first = serial_shown(server.target, old.ca)
        # A certificate without its key is not used: the files are in the middle of being replaced.
        kept = files.key.read_bytes()
        old.issue("server.test")
        new_key = files.key.read_bytes()
        files.key.write_bytes(kept)
        time.sleep(1.1)
        assert serial_shown(server.target, old.ca) == first
        files.key.write_bytes(new_key)
        time.sleep(1.1)
        assert serial_shown(server.target, old.ca) != first
        assert list(client.score([PAIR])) == before

        # Another authority altogether; the client finds its new files by itself.
        new = Authority(folder)
        new.issue("server.test")
        new.issue("client.test")
        time.sleep(1.1)
        serial_shown(server.target, new.ca)
        assert list(client.score([PAIR])) == before


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"tls_cert": "server.test.pem"}, "--tls-key: is needed with --tls-cert"),
        ({"tls_client_ca": "ca.pem"}, "--tls-cert: is needed with --tls-client-ca"),
        ({"tls_cert": "gone.pem", "tls_key": "server.test.key"}, "--tls-cert: .*cannot be read"),
        ({"tls_cert": "server.test.key", "tls_key": "server.test.key"}, "--tls-cert: holds no PEM certificate"),
        ({"tls_cert": "server.test.pem", "tls_key": "server.test.pem"}, "--tls-key: holds no private key"),
        ({"tls_cert": "server.test.pem", "tls_key": "other.test.key"}, "--tls-key: is not the key of"),
        (
            {"tls_cert": "server.test.pem", "tls_key": "server.test.key", "tls_client_ca": "server.test.key"},
            "--tls-client-ca: holds no PEM certificate",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named_by_their_flag(tmp_path, flags, named):
    authority = Authority(tmp_path)
    authority.issue("server.test")
    authority.issue("other.test")
    with pytest.raises(WrongSetting, match=named):
        server_credentials(ServerConfig(**{name: tmp_path / file for name, file in flags.items()}))


def test_a_wrong_file_ends_the_start_with_the_status_of_wrong_flags(reward_dir, tmp_path):
    process = Process("reward", reward_dir, tmp_path, "--tls-cert", str(tmp_path / "none.pem"))
    try:
        assert process.process.wait(60) == 2
        assert "--tls-key: is needed with --tls-cert" in process.log()
    finally:
        process.close()


def test_the_command_line_speaks_tls(secured, authority, capsys):
    own = authority.issue("shell.test")
    files = ["--tls-ca", str(own.ca), "--tls-cert", str(own.cert), "--tls-key", str(own.key)]
    assert main(["info", secured.target, *files]) == 0
    assert json.loads(capsys.readouterr().out)["score_kind"] == "reward"
    assert main(["info", secured.target, "--tls-ca", str(own.ca), "--timeout-s", "2"]) == 1


def test_an_implicit_reward_asks_its_reference_over_tls(policy_dir, sft_dir, authority, tmp_path):
    files = authority.issue("reference.test")
    own = authority.issue("policy.test")
    sealed = {"tls_cert": files.cert, "tls_key": files.key, "tls_client_ca": authority.ca}
    with (
        served("reference", sft_dir, **sealed) as reference,
        served(
            "policy",
            policy_dir,
            reference=reference.target,
            reference_tls_ca=own.ca,
            reference_tls_cert=own.cert,
            reference_tls_key=own.key,
        ) as policy,
        served("reference", sft_dir) as plain_reference,
        served("policy", policy_dir, reference=plain_reference.target) as plain_policy,
        Client(policy.target, timeout_s=20) as client,
        Client(plain_policy.target, timeout_s=20) as plain_client,
    ):
        assert list(client.score([PAIR])) == list(plain_client.score([PAIR]))


def test_settings_that_can_never_work_are_refused_by_the_client(authority, tmp_path):
    own = authority.issue("both.test")
    with pytest.raises(ValueError, match="give both or neither"):
        TlsFiles(cert=own.cert)
    with pytest.raises(ValueError, match="token_file is"):
        Client("localhost:1", token_file=tmp_path / "none")
    with pytest.raises(ValueError, match="two ways"):
        Client("localhost:1", tls=own, credentials=own.credentials())
    shutil.copy(own.cert, tmp_path / "two words")
    (tmp_path / "two words").write_text("two words")
    with pytest.raises(ValueError, match="one token"):
        Client("localhost:1", token_file=tmp_path / "two words")
