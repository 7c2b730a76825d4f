"""Who may do what: tokens, JWT and certificates, on both protocols."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import grpc
import jwt
import pytest
import rpc
from access_files import AccessFiles, Issuer, bearer
from certificates import Authority
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from rewardplane.services.common.access.token_file import new_token
from servers import served
from tritonclient.grpc import service_pb2, service_pb2_grpc

from rewardplane import Client, PermissionDenied, Unauthenticated
from rewardplane.v1 import model_service_pb2, model_service_pb2_grpc, scoring_service_pb2, scoring_service_pb2_grpc

PAIR = ("How was it?", "Good.")
CLOSED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    issuer = Issuer(folder)
    files = AccessFiles(folder, scorer="", reader="", elsewhere="", operator="")
    files.write(
        issuer.table,
        scorer='capabilities = ["score"]\njwt_subjects = ["team-a"]',
        reader='capabilities = ["logprobs"]',
        elsewhere='capabilities = ["score", "control", "statistics"]\nmodels = ["other-*"]',
        operator='capabilities = ["score", "logprobs", "generate", "control", "statistics"]\nmodels = ["pol*"]',
    )
    files.issuer = issuer
    return files


@pytest.fixture(scope="module")
def closed(policy_dir, files):
    with served("policy", policy_dir, access=files.path) as server:
        yield server


def score(channel, metadata, **settings):
    request = scoring_service_pb2.ScoreAnswersRequest(pairs=[rpc.text(*PAIR)])
    return scoring_service_pb2_grpc.ScoringServiceStub(channel).ScoreAnswers(
        request, metadata=metadata, timeout=20, **settings
    )


def infer(channel, metadata, output, name="policy-7"):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return stub.ModelInfer(infer_request(output, name), metadata=metadata, timeout=20)


def infer_request(output, name="policy-7"):
    request = service_pb2.ModelInferRequest(model_name=name)
    for tensor in ("question", "answer"):
        request.inputs.add(name=tensor, datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"Good.")
    request.outputs.add(name=output)
    return request


def codes(calls):
    return [rpc.failure(call).code for call in calls]


def test_each_capability_is_for_those_who_have_it(closed, files):
    channel = closed.channel
    assert len(score(channel, files.metadata("scorer")).scores) == 1
    assert infer(channel, files.metadata("scorer"), "score").outputs[0].name == "score"
    assert infer(channel, files.metadata("reader"), "logprobs").outputs[0].name == "logprobs"
    refused = [
        lambda: score(channel, files.metadata("reader")),
        lambda: infer(channel, files.metadata("reader"), "score"),
        lambda: infer(channel, files.metadata("scorer"), "logprobs"),
    ]
    assert codes(refused) == [DENIED] * 3
    failure = rpc.failure(refused[0])
    assert (failure.reason, failure.message) == ("PERMISSION_DENIED", "these credentials do not allow this call")


def test_a_model_that_is_not_on_the_list_is_closed(closed, files):
    stub = model_service_pb2_grpc.ModelServiceStub(closed.channel)
    ask = model_service_pb2.GetModelInfoRequest()
    assert stub.GetModelInfo(ask, metadata=files.metadata("reader"), timeout=20).model_info.model_version.model_name
    assert (
        codes(
            [
                lambda: score(closed.channel, files.metadata("elsewhere")),
                lambda: stub.GetModelInfo(ask, metadata=files.metadata("elsewhere"), timeout=20),
            ]
        )
        == [DENIED] * 2
    )


def wrong_credentials(files):
    good = files.tokens["scorer"]
    issuer = files.issuer
    stranger = jwt.encode({"sub": "team-a"}, "secret" * 8, "HS256")
    return {
        "none": [],
        "wrong": bearer("rwp_wrong"),
        "cut": bearer(good[:-1]),
        "basic": [("authorization", f"Basic {good}")],
        "twice": bearer(good) * 2,
        "empty": bearer(""),
        "expired jwt": bearer(issuer.token("team-a", lasts_s=-1)),
        "other audience": bearer(issuer.token("team-a", aud="somebody")),
        "other issuer": bearer(issuer.token("team-a", iss="https://evil.test")),
        "without exp": bearer(issuer.token("team-a", exp=None)),
        "unknown subject": bearer(issuer.token("team-z")),
        "not yet": bearer(issuer.token("team-a", nbf=time.time() + 60)),
        "symmetric": bearer(stranger),
        "unsigned": bearer(jwt.encode({"sub": "team-a"}, None, "none")),
        "no jwt": bearer("a.b.c"),
    }


def test_wrong_credentials_of_all_kinds_get_one_and_the_same_answer(closed, files):
    answers = set()
    for metadata in wrong_credentials(files).values():
        failure = rpc.failure(lambda metadata=metadata: score(closed.channel, metadata))
        answers.add((failure.code, failure.reason, failure.message))
    assert answers == {(CLOSED, "UNAUTHENTICATED", "this server wants credentials that it knows")}


def test_refusals_are_counted_by_cause(closed, files):
    def count(cause):
        return closed.metrics()["rewardplane_access_refused_total", (cause,)]

    before = count("no_credentials"), count("bad_token"), count("not_allowed")
    rpc.failure(lambda: score(closed.channel, []))
    rpc.failure(lambda: score(closed.channel, bearer("wrong")))
    rpc.failure(lambda: score(closed.channel, files.metadata("reader")))
    after = count("no_credentials"), count("bad_token"), count("not_allowed")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


def test_a_jwt_of_the_issuer_names_its_identity(closed, files):
    assert len(score(closed.channel, bearer(files.issuer.token("team-a"))).scores) == 1
    assert len(score(closed.channel, bearer(files.issuer.token("team-a", aud=["x", "rewardplane"]))).scores) == 1


def test_a_refused_request_is_not_read(closed):
    """Its pairs are malformed, which would be INVALID_ARGUMENT; and it is larger than any the server takes."""
    channel = grpc.insecure_channel(closed.target, [("grpc.max_send_message_length", -1)])
    with channel:
        stub = scoring_service_pb2_grpc.ScoringServiceStub(channel)
        huge = scoring_service_pb2.ScoreAnswersRequest(pairs=[rpc.text("x" * (65 << 20), "")])
        assert rpc.failure(lambda: stub.ScoreAnswers(huge, timeout=20)).code is CLOSED


def test_kserve_controls_are_privileged_and_its_probes_are_open(closed, files):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(closed.channel)
    assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=5).ready
    assert stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=5).live
    calls = {
        stub.TraceSetting: service_pb2.TraceSettingRequest(),
        stub.LogSettings: service_pb2.LogSettingsRequest(),
        stub.ModelStatistics: service_pb2.ModelStatisticsRequest(),
        stub.SystemSharedMemoryStatus: service_pb2.SystemSharedMemoryStatusRequest(),
        stub.CudaSharedMemoryStatus: service_pb2.CudaSharedMemoryStatusRequest(),
    }
    for call, request in calls.items():
        assert rpc.failure(lambda c=call, r=request: c(r, timeout=5)).code is CLOSED
        scorer = files.metadata("scorer")
        assert rpc.failure(lambda c=call, r=request: c(r, metadata=scorer, timeout=5)).code is DENIED  # noqa: B023
        call(request, metadata=files.metadata("operator"), timeout=5)
    load = service_pb2.RepositoryModelLoadRequest(model_name="policy-7")
    assert rpc.failure(lambda: stub.RepositoryModelLoad(load, metadata=files.metadata("scorer"))).code is DENIED
    load_as_operator = rpc.failure(lambda: stub.RepositoryModelLoad(load, metadata=files.metadata("operator")))
    assert load_as_operator.code is grpc.StatusCode.UNIMPLEMENTED
    assert rpc.failure(lambda: stub.ServerMetadata(service_pb2.ServerMetadataRequest())).code is CLOSED


def test_a_stream_is_checked_as_a_call_is(closed, files):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(closed.channel)

    def stream(metadata, output):
        return list(stub.ModelStreamInfer(iter([infer_request(output)] * 2), metadata=metadata, timeout=20))

    answers = stream(files.metadata("scorer"), "score")
    assert [answer.error_message for answer in answers] == ["", ""]
    assert {answer.error_message for answer in stream(files.metadata("scorer"), "logprobs")} == {
        "these credentials do not allow this call"
    }
    assert rpc.failure(lambda: stream([], "score")).code is CLOSED


def test_health_is_open_and_reflection_is_not(closed, files):
    health = health_pb2_grpc.HealthStub(closed.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING

    def reflect(metadata):
        stub = reflection_pb2_grpc.ServerReflectionStub(closed.channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        return list(stub.ServerReflectionInfo(iter([ask]), metadata=metadata, timeout=5))

    assert rpc.failure(lambda: reflect([])).code is CLOSED
    assert len(reflect(files.metadata("reader"))) == 1


def test_tokens_expire_and_are_revoked_without_a_restart(reward_dir, tmp_path):
    files = AccessFiles(tmp_path, team='capabilities = ["score"]')
    late, expired_line = new_token("team", datetime.now(UTC) - timedelta(seconds=1))
    files.tokens_path.write_text(files.tokens_path.read_text() + f"# until yesterday\n{expired_line}\n")
    second, second_line = new_token("team", datetime.now(UTC) + timedelta(days=1))
    token_file = tmp_path / "mine"
    token_file.write_text(files.tokens["team"])
    with (
        served("reward", reward_dir, access=files.path) as server,
        Client(server.target, token_file=token_file, timeout_s=20) as client,
    ):
        client.score([PAIR])
        assert rpc.failure(lambda: score(server.channel, bearer(late))).code is CLOSED
        files.tokens_path.write_text(f"{second_line}\n")
        time.sleep(1.1)
        with pytest.raises(Unauthenticated):
            client.score([PAIR])
        token_file.write_text(second + "\n")
        client.score([PAIR])
        # A file that cannot be used changes nothing.
        files.path.write_text("identities = 3")
        time.sleep(1.1)
        client.score([PAIR])
        files.write("", team='capabilities = ["statistics"]')
        time.sleep(1.1)
        with pytest.raises(PermissionDenied):
            client.score([PAIR])
        assert server.metrics()["rewardplane_access_reload_failures_total", ()] >= 1


def test_a_revoked_token_ends_the_stream_that_it_opened(policy_dir, tmp_path):
    files = AccessFiles(tmp_path, team='capabilities = ["score"]')
    metadata = files.metadata("team")
    revoked = threading.Event()

    def requests():
        yield infer_request("score")
        revoked.wait(20)
        yield infer_request("score")

    with served("policy", policy_dir, access=files.path) as server:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
        answers = stub.ModelStreamInfer(requests(), metadata=metadata, timeout=20)
        assert next(answers).error_message == ""
        files.tokens_path.write_text("")
        time.sleep(1.1)
        revoked.set()
        assert rpc.failure(lambda: next(answers)).code is CLOSED


def test_a_certificate_names_its_identity(reward_dir, tmp_path):
    authority = Authority(tmp_path)
    own = authority.issue("server.test")
    files = AccessFiles(tmp_path, **{"team-a": "", "tokened": ""})
    files.write(
        "",
        **{
            "team-a": 'capabilities = ["score"]\ncertificate_names = ["team-a.test"]',
            "tokened": 'capabilities = ["statistics"]',
        },
    )
    with served(
        "reward", reward_dir, access=files.path, tls_cert=own.cert, tls_key=own.key, tls_client_ca=authority.ca
    ) as server:
        with Client(server.target, tls=authority.issue("team-a.test"), timeout_s=20) as client:
            client.score([PAIR])
        with (
            Client(server.target, tls=authority.issue("team-b.test"), timeout_s=20) as client,
            pytest.raises(Unauthenticated),
        ):
            client.score([PAIR])
        # A token says more than a certificate, and a wrong one is not made good by it.
        for metadata, error in ((files.metadata("tokened"), PermissionDenied), (bearer("wrong"), Unauthenticated)):
            with (
                Client(server.target, tls=authority.issue("team-a.test"), metadata=metadata, timeout_s=20) as client,
                pytest.raises(error),
            ):
                client.score([PAIR])
