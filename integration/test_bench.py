"""The pure parts of the benchmarks: summing up, reading what load generators print, and plans that the peers accept."""

import json
import os
from pathlib import Path

import pytest

from bench import (
    suite_ab,
    suite_ablation,
    suite_bolt,
    suite_http1,
    suite_latency,
    suite_memory,
    suite_push,
    suite_scaling,
    suite_syscalls,
)
from bench.__main__ import chosen
from bench.agree import compare
from bench.agree import main as agree
from bench.filters_plan import CONFIGURATIONS, bootstrap_of, install_python_filters
from bench.http_plan import HttpPlan, envoy_bootstrap
from bench.load.wrk import parse_report
from bench.mosn_plan import mosn_config
from bench.nodecpu import share
from bench.peers import SOURCES, source_digest
from bench.procstat import Reading, others_share, reading
from bench.publish import write_report
from bench.push_plan import PushPlan, marker_of, service_entry, services_json
from bench.result import Result, Sample, percentile, read_json, write_json
from harness.envoy import validate, write_bootstrap
from harness.isthmus import module
from harness.process import run


def result(*rates: float, errors: int = 0) -> Result:
    return Result(
        "http1", "c1-100b", "isthmus", tuple(Sample(rps=rate, errors=errors, extra={"x": 1}) for rate in rates)
    )


def test_medians_and_spread_are_those_of_the_rounds() -> None:
    three = result(30, 10, 20, errors=2)
    assert three.median("rps") == 20
    assert three.spread("rps") == (10, 30)
    assert three.median("x") == 1
    assert three.errors == 6


def test_a_figure_that_was_not_measured_is_none_and_not_zero() -> None:
    assert result(1).median("p50_us") is None
    assert result(1).spread("p50_us") is None
    assert result(1).as_json()["p50_us"] is None


def test_json_has_the_fields_that_tools_read_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(path, [result(30, 10, 20, errors=1)], {"cpu": "x"})
    body = json.loads(path.read_text())
    fields = {"suite", "case", "subject", "rps", "cpu_us_per_request", "p50_us", "p99_us", "rss_mb", "errors"}
    assert fields <= body.keys()
    [read], machine = read_json(path)
    assert (read.median("rps"), read.spread("rps"), read.errors, machine) == (20, (10, 30), 3, {"cpu": "x"})


@pytest.mark.parametrize(
    ("second", "differing"),
    [((20, 25, 30), 0), ((5, 8, 9.6), 0), ((5, 7, 9), 1), ((31, 40, 50), 0), ((32, 40, 50), 1)],
)
def test_runs_agree_where_their_ranges_touch_or_miss_by_no_more_than_the_slack(
    second: tuple[float, ...], differing: int
) -> None:
    compared, differences = compare([result(10, 20, 30)], [result(*second)], slack=0.05)
    assert compared == 2  # req/s, and the suite's own figure
    assert [difference.metric for difference in differences] == ["rps"] * differing


def test_what_only_one_run_holds_is_not_compared() -> None:
    assert compare([result(1)], [], slack=0.05) == (0, [])


def test_two_files_that_disagree_are_an_error_that_names_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, other = tmp_path / "first.json", tmp_path / "second.json", tmp_path / "none.json"
    write_json(first, [result(10, 20, 30)], {})
    write_json(second, [result(60, 70, 80)], {})
    other.write_text("")
    assert agree([str(first), str(first)]) == 0
    assert agree([str(first), str(second)]) == 1
    assert agree([str(first), str(other)]) == 1
    printed = capsys.readouterr()
    assert "c1-100b isthmus rps: 10-30 against 60-80, 100.0% apart" in printed.out
    assert "share no figure" in printed.err


def test_a_report_has_a_page_and_a_chart_a_figure(tmp_path: Path) -> None:
    written = write_report(tmp_path, [result(1, 2, 3)], {"cpu": "x", "cores": 2})
    assert [path.name for path in written] == ["http1-rps.svg", "http1.md"]
    assert "| rps | 2.00" in (tmp_path / "http1.md").read_text()


def test_equal_figures_give_equal_charts(tmp_path: Path) -> None:
    charts = [write_report(tmp_path / name, [result(1)], {"cpu": "x", "cores": 2})[0].read_bytes() for name in "ab"]
    assert charts[0] == charts[1]


@pytest.mark.parametrize(("share_of", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles_of_an_ordered_sequence(share_of: float, expected: float) -> None:
    assert percentile(range(1, 101), share_of) == expected


def test_the_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.5) == 0


def test_wrk_reports_are_read_and_every_kind_of_error_counts() -> None:
    raw = {"requests": 1000, "duration_us": 2_000_000, "p50_us": 100, "p99_us": 900}
    errors = {"connect": 1, "read": 2, "write": 3, "status": 4, "timeout": 5}
    report = parse_report("Running 2s test\n\n@" + json.dumps(raw | errors) + "\n")
    assert report is not None
    assert (report.requests, report.seconds, report.p50_us, report.p99_us, report.errors) == (1000, 2.0, 100, 900, 15)


def test_wrk_without_a_report_is_none() -> None:
    assert parse_report("unable to connect to 127.0.0.1:1 Connection refused\n") is None


STRACE = """    calls syscall
--------- ----------------
      400 recvfrom
      200 sendto
      200 writev
        7 epoll_wait
       13 accept4
--------- ----------------
      820 total
"""


def test_system_calls_are_counted_by_kind() -> None:
    expected = {"reads": 2.0, "writes": 2.0, "polls": 0.035, "others": 0.065, "syscalls": 4.1}
    assert suite_syscalls.by_kind(STRACE, 200) == pytest.approx(expected)


def test_processor_share_between_two_readings() -> None:
    assert share((10.0, 1.0), (12.0, 2.0)) == 0.5
    assert share((10.0, 1.0), (10.0, 1.0)) == 0.0


def test_what_other_programs_took_is_all_but_ours() -> None:
    cores = os.cpu_count() or 1
    assert others_share(Reading(0, 10, 5), Reading(10, 10 + 6 * cores, 5 + 4 * cores)) == pytest.approx(0.2)
    assert others_share(reading(), reading()) >= 0


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    assert chosen("", ("a", "b"), "subjects") == ("a", "b")
    with pytest.raises(SystemExit, match="unknown subjects c; known: a, b"):
        chosen("a,c", ("a", "b"), "subjects")


@pytest.mark.parametrize(
    "suite",
    [
        suite_ab,
        suite_ablation,
        suite_bolt,
        suite_http1,
        suite_latency,
        suite_memory,
        suite_push,
        suite_scaling,
        suite_syscalls,
    ],
)
def test_every_subject_has_a_case_and_every_gap_a_reason(suite: object) -> None:
    assert isinstance(suite, type(suite_ab))
    for subject in suite.subjects():
        gaps = [suite.gap(subject, case) for case in suite.cases()]
        assert "" in gaps
        assert all(len(gap) > 20 for gap in gaps if gap)


@pytest.mark.parametrize(
    ("observed", "clusters", "rules"), [(False, 0, 0), (True, 0, 0), (False, 10, 0), (False, 0, 20)]
)
def test_envoy_accepts_the_plan(tmp_path: Path, clusters: int, rules: int, *, observed: bool) -> None:
    plan = HttpPlan(18000, 18001, 18002, tmp_path, observed=observed, clusters=clusters, rules=rules)
    accepted, said = validate(envoy_bootstrap(plan))
    assert accepted, said


@pytest.mark.parametrize("case", [case for case in suite_scaling.cases() if case.endswith("-10")])
def test_envoy_accepts_the_plan_of_the_smallest_of_each_kind(tmp_path: Path, case: str) -> None:
    accepted, said = validate(envoy_bootstrap(suite_scaling.plan_of(case, 18002, tmp_path)))
    assert accepted, said


def test_mosn_gets_the_same_clusters_and_limits_as_envoy(tmp_path: Path) -> None:
    config = json.loads(json.dumps(mosn_config(HttpPlan(1, 2, 3, tmp_path, clusters=2))))
    clusters = config["cluster_manager"]["clusters"]
    assert [cluster["name"] for cluster in clusters] == ["origin", "idle-0", "idle-1"]
    assert {cluster["circuit_breakers"][0]["max_connections"] for cluster in clusters} == {100_000}


def test_a_change_is_seen_in_each_control_planes_own_language(tmp_path: Path) -> None:
    plan = PushPlan(tmp_path, 1, 2, services=3, endpoints=2)
    marker = marker_of(7)
    assert f"address: {marker}\n" in service_entry(plan, 1, marker)
    assert marker not in service_entry(plan, 1)
    served = json.loads(services_json(plan, {1: marker}))
    assert served["outbound|8080||svc-00001.bench.local"] == [marker, "10.1.1.2"]


def test_markers_differ_from_each_other_and_from_usual_addresses(tmp_path: Path) -> None:
    plan = PushPlan(tmp_path, 1, 2)
    usual = {address for service in range(plan.services) for address in plan.addresses(service)}
    markers = {marker_of(change) for change in range(100_000)}
    assert len(markers) == 100_000
    assert not markers & usual


def test_a_peer_is_built_anew_when_its_sources_change(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    before = source_digest(tmp_path)
    (tmp_path / "go.mod").write_text("module x\n")
    assert source_digest(tmp_path) != before
    assert source_digest(SOURCES / "openloop") == source_digest(SOURCES / "openloop")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_proxy_takes_the_configurations_whose_cost_is_measured(name: str, tmp_path: Path) -> None:
    path = write_bootstrap(bootstrap_of(name, HttpPlan(1, 2, 3, tmp_path)), tmp_path, "cost")
    paths = os.pathsep.join(map(str, install_python_filters(tmp_path)))
    checked = run([*module("isthmus_proxy"), "validate", "-c", path], env={"PYTHONPATH": paths})
    assert checked.returncode == 0, checked.stderr
