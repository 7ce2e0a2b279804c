from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.http.date import http_date


@given(st.integers(0, 253_402_300_799))
def test_dates_are_those_of_the_standard_library(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True).encode()


def test_the_example_of_the_rfc() -> None:
    assert http_date(784_111_777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
