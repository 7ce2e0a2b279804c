from __future__ import annotations

import itertools

import pytest

from isthmus_mcp_bridge.mcp.session import (
    MAX_TYPE_URL,
    MAX_TYPES,
    Outcome,
    Rejection,
    Response,
    SotwRequest,
    TooManyTypes,
)
from isthmus_mcp_bridge.mcp.snapshot import EMPTY, Collection, Snapshot, SnapshotResource, pack_all
from isthmus_mcp_bridge.mcp.sotw import SotwSession

SE = "networking.istio.io/v1/ServiceEntry"
OLD_SE = "networking.istio.io/v1alpha3/ServiceEntry"
GATEWAY = "networking.istio.io/v1/Gateway"
MESH_CONFIG = "core/v1alpha1/MeshConfig"
ISTIO_NONCE = "2026-08-22 10:00:00.1 +0000 UTC m=+0.1"
TYPES = [SE, GATEWAY] + [f"networking.istio.io/v1/Kind{number}" for number in range(13)]


def collection(**versions: str) -> Collection:
    return Collection(
        {name: SnapshotResource(name, version, f"{name}@{version}".encode()) for name, version in versions.items()}
    )


def snapshot(**versions: str) -> Snapshot:
    return Snapshot(collection(**versions))


def session(first: Snapshot | None = None) -> SotwSession:
    numbers = itertools.count(1)
    made = SotwSession(lambda: f"n{next(numbers)}")
    made.publish(first or snapshot(a="1"))
    return made


def sent(one: SotwSession) -> Response:
    response = one.next_response()
    assert response is not None
    return response


def ack(response: Response) -> SotwRequest:
    return SotwRequest(response.type_url, response.nonce)


def nack(response: Response) -> SotwRequest:
    return SotwRequest(response.type_url, response.nonce, error=Rejection(3, "no"))


def test_istiod_connects_as_it_does() -> None:
    """Time-string nonces are no answers; every type is answered, but MeshConfig, and ACKs end the conversation."""
    one = session()
    for type_url in [MESH_CONFIG, *TYPES]:
        assert one.handle_request(SotwRequest(type_url, ISTIO_NONCE)) is Outcome.SUBSCRIBE
    answers = [sent(one) for _ in TYPES]
    assert one.next_response() is None
    assert [answer.type_url for answer in answers] == TYPES
    assert [answer.count for answer in answers] == [1] + [0] * 14
    assert answers[0].body == collection(a="1").body
    assert all(answer.version for answer in answers)
    for answer in answers:
        assert one.handle_request(ack(answer)) is Outcome.ACK
    assert one.next_response() is None
    assert one.status[SE].acked_version == answers[0].version


def test_services_are_withheld_until_there_is_a_snapshot_but_other_types_are_not() -> None:
    one = session(Snapshot(None))
    one.handle_request(SotwRequest(SE, ISTIO_NONCE))
    one.handle_request(SotwRequest(GATEWAY, ISTIO_NONCE))
    assert sent(one).type_url == GATEWAY
    assert one.next_response() is None
    assert one.handle_request(SotwRequest(SE, ISTIO_NONCE)) is Outcome.SUBSCRIBE
    one.publish(Snapshot(EMPTY))
    assert sent(one).count == 0


@pytest.mark.parametrize("version", ["v1", "v1alpha3", "v1beta1"])
def test_the_requested_api_version_is_echoed(version: str) -> None:
    one = session()
    one.handle_request(SotwRequest(f"networking.istio.io/{version}/ServiceEntry"))
    assert sent(one).type_url == f"networking.istio.io/{version}/ServiceEntry"


def test_two_api_versions_on_one_stream_share_the_bytes() -> None:
    one = session()
    one.handle_request(SotwRequest(SE))
    one.handle_request(SotwRequest(OLD_SE))
    first, second = sent(one), sent(one)
    assert (first.type_url, second.type_url) == (SE, OLD_SE)
    assert first.body is second.body


@pytest.mark.parametrize(
    "type_url", ["other.io/v1/ServiceEntry", "networking.istio.io/v2/ServiceEntry", "ServiceEntry", ""]
)
def test_what_is_no_service_entry_is_empty(type_url: str) -> None:
    one = session()
    one.handle_request(SotwRequest(type_url))
    assert sent(one).count == 0


def test_one_response_is_outstanding_and_the_newest_wins() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(SotwRequest(SE))
    first = sent(one)
    one.publish(snapshot(a="2"))
    one.publish(snapshot(a="3"))
    assert one.next_response() is None
    one.handle_request(ack(first))
    assert sent(one).version == collection(a="3").version
    assert one.next_response() is None


def test_a_rejected_version_is_not_sent_again() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(SotwRequest(SE))
    one.handle_request(ack(sent(one)))
    one.publish(snapshot(a="2"))
    assert one.handle_request(nack(sent(one))) is Outcome.NACK
    assert one.next_response() is None
    status = one.status[SE]
    assert (status.acked_version, status.rejected_version) == (collection(a="1").version, collection(a="2").version)
    assert status.rejection == Rejection(3, "no")
    one.publish(snapshot(a="2"))
    assert one.next_response() is None
    one.publish(snapshot(a="3"))
    one.handle_request(ack(sent(one)))
    assert one.status[SE].rejection is None


def test_going_back_from_a_rejected_version_is_sent() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(SotwRequest(SE))
    one.handle_request(ack(sent(one)))
    one.publish(snapshot(a="2"))
    one.handle_request(nack(sent(one)))
    one.publish(snapshot(a="1"))
    assert sent(one).version == collection(a="1").version


def test_an_answer_to_an_older_response_is_stale() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(SotwRequest(SE))
    first = sent(one)
    one.handle_request(ack(first))
    one.publish(snapshot(a="2"))
    sent(one)
    assert one.handle_request(ack(first)) is Outcome.STALE
    assert one.handle_request(nack(first)) is Outcome.STALE
    assert one.next_response() is None
    assert one.status[SE].acked_version == first.version


def test_nonces_of_another_server_are_initial_on_a_new_stream() -> None:
    one = session()
    assert one.handle_request(SotwRequest(SE, "nonce-of-the-process-before")) is Outcome.SUBSCRIBE
    assert sent(one).count == 1


def test_an_empty_nonce_asks_again() -> None:
    one = session()
    one.handle_request(SotwRequest(SE))
    first = sent(one)
    assert one.handle_request(SotwRequest(SE)) is Outcome.SUBSCRIBE
    assert sent(one).nonce != first.nonce


def test_an_answer_to_one_type_is_no_answer_to_another() -> None:
    one = session()
    one.handle_request(SotwRequest(SE))
    one.handle_request(SotwRequest(GATEWAY))
    services, gateways = sent(one), sent(one)
    assert one.handle_request(SotwRequest(SE, gateways.nonce)) is Outcome.STALE
    assert one.handle_request(SotwRequest(SE, services.nonce)) is Outcome.ACK


def test_named_resources() -> None:
    one = session(snapshot(a="1", b="1"))
    one.handle_request(SotwRequest(SE, names=("b", "missing")))
    first = sent(one)
    assert first.body == pack_all([SnapshotResource("b", "1", b"b@1")])
    assert one.handle_request(SotwRequest(SE, first.nonce, names=("a",))) is Outcome.ACK
    second = sent(one)
    assert second.body == pack_all([SnapshotResource("a", "1", b"a@1")])
    one.handle_request(SotwRequest(SE, second.nonce, names=("*",)))
    assert sent(one).count == 2


def test_types_at_the_limit() -> None:
    one = session()
    for number in range(MAX_TYPES):
        one.handle_request(SotwRequest(f"t/v1/{number}"))
    one.handle_request(SotwRequest("t/v1/0", "again"))
    with pytest.raises(TooManyTypes):
        one.handle_request(SotwRequest("t/v1/more"))
    session().handle_request(SotwRequest("x" * MAX_TYPE_URL))
    with pytest.raises(TooManyTypes):
        session().handle_request(SotwRequest("x" * (MAX_TYPE_URL + 1)))
