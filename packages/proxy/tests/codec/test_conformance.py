"""Every codec passes the same suite, plug-ins included; and the suite notices what is wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isthmus_proxy.codec.bolt import testing as bolt
from isthmus_proxy.codec.bolt.codec import BoltCodec
from isthmus_proxy.codec.conformance import CodecSamples, SampleRequest, SampleResponse, check_codec
from isthmus_proxy.codec.dubbo import testing as dubbo
from isthmus_proxy.codec.dubbo.codec import DubboCodec
from isthmus_proxy.rpc.codecs import codec_names, make_codec

EXAMPLE = Path(__file__).parents[2] / "examples" / "rpc-codec-dubbo-thrift"
HTTP = b"GET / HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n\r\n"


def header(method: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"service", b"s:1.0"), (b"sofa_head_method_name", method), (b"k", b"v")]


def bolt_samples(version: bolt.BoltVersion) -> CodecSamples:
    return CodecSamples(
        requests=[
            SampleRequest(bolt.request(1, header(b"a"), b"body", version=version), 1, b"s:1.0", b"a"),
            SampleRequest(bolt.request(0xFFFFFFFF, header(b"b"), version=version), 0xFFFFFFFF, b"s:1.0", b"b"),
            SampleRequest(
                bolt.request(3, header(b"c"), version=version, one_way=True), 3, b"s:1.0", b"c", one_way=True
            ),
        ],
        responses=[
            SampleResponse(bolt.response(1, b"x" * 30, version=version), 1),
            SampleResponse(bolt.response(2, version=version, status=4), 2, failed=True),
        ],
        garbage=[HTTP, b"\x16\x03\x01" + bytes(60), b"\xda\xbb" + bytes(60)],
    )


DUBBO = CodecSamples(
    requests=[
        SampleRequest(dubbo.request(1, "com.x.A", "a"), 1, b"com.x.A", b"a"),
        SampleRequest(dubbo.request(2**64 - 1, "com.x.B", "b", b"\x90", types="I"), 2**64 - 1, b"com.x.B", b"b"),
        SampleRequest(dubbo.request(5, "com.x.A", "b", two_way=False), 5, b"com.x.A", b"b", one_way=True),
    ],
    responses=[SampleResponse(dubbo.response(1), 1), SampleResponse(dubbo.response(2, b"\x01x", 80), 2, failed=True)],
    garbage=[HTTP, b"\x01\x01" + bytes(60)],
)


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dubbo_thrift", EXAMPLE / "dubbo_thrift.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def thrift_samples(module: ModuleType) -> CodecSamples:
    frame = module.frame_of
    return CodecSamples(
        requests=[
            SampleRequest(frame(b"com.x.A", 1, 1, b"a", b"\x00"), 1, b"com.x.A", b"a"),
            SampleRequest(frame(b"com.x.B", 2**64 - 1, 1, b"b", b"\x00" * 9), 2**64 - 1, b"com.x.B", b"b"),
            SampleRequest(frame(b"com.x.B", 3, 4, b"c", b"\x00"), 3, b"com.x.B", b"c", one_way=True),
        ],
        responses=[
            SampleResponse(frame(b"com.x.A", 1, 2, b"a", b"\x00"), 1),
            SampleResponse(frame(b"com.x.A", 1, 3, b"a", b"\x00"), 1, failed=True),
        ],
        garbage=[HTTP, b"\x01\x01" + bytes(60)],
        heartbeats=False,
    )


@pytest.mark.parametrize("version", [bolt.V1, bolt.BoltVersion(2), bolt.BoltVersion(2, 2, 1)])
def test_bolt_conforms(version: bolt.BoltVersion) -> None:
    check_codec(BoltCodec(), bolt_samples(version))


def test_dubbo_conforms() -> None:
    check_codec(DubboCodec(), DUBBO)


def test_the_example_conforms_in_about_150_lines() -> None:
    module = example()
    check_codec(module.DubboThriftCodec(), thrift_samples(module))
    assert len((EXAMPLE / "dubbo_thrift.py").read_text().splitlines()) < 190


class ForgetsIds(DubboCodec):
    def set_id(self, frame: bytes, identifier: int) -> bytes:
        return super().set_id(frame, identifier & 0xFFFFFFFF)


class TakesAnything(DubboCodec):
    def detect(self, data: bytes) -> bool | None:
        return super().detect(data) or (True if data else None)


class ErrorsAreFine(DubboCodec):
    def error(self, identifier: int, form: int, status: int, message: str) -> bytes:
        return super().error(identifier, form, 200, message)


@pytest.mark.parametrize("codec", [ForgetsIds(), TakesAnything(), ErrorsAreFine()])
def test_the_suite_notices_what_is_wrong(codec: DubboCodec) -> None:
    with pytest.raises(AssertionError):
        check_codec(codec, DUBBO)


def test_plug_ins_are_found_by_their_entry_point(tmp_path: Path) -> None:
    about = tmp_path / "isthmus_codec_dubbo_thrift-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: isthmus-codec-dubbo-thrift\nVersion: 0.1.0\n")
    points = (EXAMPLE / "pyproject.toml").read_text()
    assert '[project.entry-points."isthmus_proxy.rpc_codecs"]\ndubbo-thrift = "dubbo_thrift:DubboThriftCodec"' in points
    (about / "entry_points.txt").write_text(
        "[isthmus_proxy.rpc_codecs]\ndubbo-thrift = dubbo_thrift:DubboThriftCodec\n"
    )
    assert codec_names() == ["bolt", "dubbo"]
    sys.path[:0] = [str(tmp_path), str(EXAMPLE)]
    try:
        assert codec_names() == ["bolt", "dubbo", "dubbo-thrift"]
        assert make_codec("dubbo-thrift").name == "dubbo-thrift"
    finally:
        del sys.path[:2]
        sys.modules.pop("dubbo_thrift", None)
