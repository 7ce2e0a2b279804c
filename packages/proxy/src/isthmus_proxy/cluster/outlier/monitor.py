"""What outlier detection knows of one endpoint. The data path tells it how requests end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus_proxy.cluster.outlier.model import Kind

if TYPE_CHECKING:
    from isthmus_proxy.cluster.endpoint import Endpoint
    from isthmus_proxy.cluster.outlier.detector import Detector

_GATEWAY_ERRORS = frozenset((502, 503, 504))


class SuccessRate:
    """Counts of the interval that runs, and the outcome of the one before it."""

    __slots__ = ("rate", "successes", "total", "volume")

    def __init__(self) -> None:
        self.total = 0
        self.successes = 0
        self.rate = 0.0
        self.volume = 0

    def turn(self) -> None:
        """The interval is over: ``rate`` (per cent) and ``volume`` are its outcome."""
        self.volume = self.total
        self.rate = 100.0 * self.successes / self.total if self.total else 0.0
        self.total = self.successes = 0


class OutlierMonitor:
    """See the module. Times are the detector's. ``backoff`` multiplies the ejection time, ``ejections`` counts all of them.

    ``success_rate`` and ``local_origin_success_rate`` are those of the last interval, -1 if it had too few requests.
    """

    __slots__ = (
        "_consecutive_5xx",
        "_consecutive_gateway_failure",
        "_consecutive_local_origin_failure",
        "_detector",
        "backoff",
        "ejected_at",
        "ejections",
        "endpoint",
        "external",
        "jitter",
        "local",
        "local_origin_success_rate",
        "success_rate",
        "unejected_at",
    )

    def __init__(self, detector: Detector, endpoint: Endpoint) -> None:
        self._detector = detector
        self.endpoint = endpoint
        self.reset_consecutive()
        self.external = SuccessRate()
        self.local = SuccessRate()
        self.backoff = 0
        self.ejections = 0
        self.ejected_at: float | None = None
        self.unejected_at: float | None = None
        self.jitter = 0.0
        self.success_rate = -1.0
        self.local_origin_success_rate = -1.0

    def reset_consecutive(self) -> None:
        """Begin to count failures in a row anew."""
        self._consecutive_5xx = 0
        self._consecutive_gateway_failure = 0
        self._consecutive_local_origin_failure = 0

    def responded(self, status: int) -> None:
        """The endpoint answered with ``status``."""
        external = self.external
        external.total += 1
        if status < 500:
            external.successes += 1
            self._consecutive_5xx = 0
            self._consecutive_gateway_failure = 0
            return
        config = self._detector.config
        if status in _GATEWAY_ERRORS:
            self._consecutive_gateway_failure += 1
            if self._consecutive_gateway_failure == config.consecutive_gateway_failure:
                self._detector.consecutive(self, Kind.CONSECUTIVE_GATEWAY_FAILURE)
                self._consecutive_gateway_failure = 0
        else:
            self._consecutive_gateway_failure = 0
        self._consecutive_5xx += 1
        if self._consecutive_5xx == config.consecutive_5xx:
            self._detector.consecutive(self, Kind.CONSECUTIVE_5XX)
            self._consecutive_5xx = 0

    def failed(self, status: int) -> None:
        """A request got no answer: ``status`` is what stands for that (503 lost or not connected, 504 too slow)."""
        if not self._detector.config.split_external_local_origin_errors:
            self.responded(status)
            return
        self.local.total += 1
        self._consecutive_local_origin_failure += 1
        if self._consecutive_local_origin_failure == self._detector.config.consecutive_local_origin_failure:
            self._detector.consecutive(self, Kind.CONSECUTIVE_LOCAL_ORIGIN_FAILURE)
            self._consecutive_local_origin_failure = 0

    def connected(self) -> None:
        """A request got a connection; how it ends is told separately."""
        if self._detector.config.split_external_local_origin_errors:
            self._local_success()

    def served(self) -> None:
        """A connection is all that was asked for (TCP), and it was got."""
        if self._detector.config.split_external_local_origin_errors:
            self._local_success()
        else:
            self.responded(200)

    def _local_success(self) -> None:
        self.local.total += 1
        self.local.successes += 1
        self._consecutive_local_origin_failure = 0
