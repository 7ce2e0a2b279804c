from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.cli import main
from isthmus_proxy.interception.rules import CHAINS, Interception, apply_script, clean_script

PORTS = st.lists(st.integers(1, 65535), max_size=3).map(tuple)
NETWORKS = st.lists(
    st.sampled_from([ipaddress.ip_network(each) for each in ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8")]), max_size=3
).map(tuple)
INTERCEPTIONS = st.builds(
    Interception,
    proxy_uids=st.lists(st.integers(0, 70000), max_size=2).map(tuple),
    proxy_gids=st.lists(st.integers(0, 70000), max_size=2).map(tuple),
    inbound_ports=st.none() | PORTS,
    exclude_inbound_ports=PORTS,
    exclude_outbound_ports=PORTS,
    outbound_networks=st.none() | NETWORKS,
    exclude_outbound_networks=NETWORKS,
)
FOREIGN = "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-N OTHER\n-A OUTPUT -p tcp -j OTHER\n"


class Table:
    """The nat table: takes what iptables-restore --noflush takes, and lists like ``iptables -S``."""

    def __init__(self, text: str = "") -> None:
        self.chains: dict[str, list[str]] = {"PREROUTING": [], "OUTPUT": []}
        for line in text.splitlines():
            if line.startswith(("-N", "-A")):
                self.take(line)

    def restore(self, script: str) -> None:
        lines = script.splitlines()
        assert (lines[0], lines[-1]) == ("*nat", "COMMIT")
        for line in lines[1:-1]:
            if line.startswith(":"):
                self.chains[line[1:].split()[0]] = []
            else:
                self.take(line)

    def take(self, line: str) -> None:
        action, chain, *_rule = line.split()
        if action == "-N":
            assert chain not in self.chains
            self.chains[chain] = []
        elif action == "-A":
            self.chains[chain].append(line)
        elif action == "-D":
            self.chains[chain].remove(line.replace("-D", "-A", 1))
        elif action == "-F":
            self.chains[chain].clear()
        elif action == "-X":
            used = [line for rules in self.chains.values() for line in rules if line.endswith(f"-j {chain}")]
            assert not self.chains.pop(chain)
            assert not used
        else:
            raise AssertionError(line)

    def shown(self) -> str:
        made = [f"-N {chain}" for chain in self.chains if chain not in ("PREROUTING", "OUTPUT")]
        return "\n".join([*made, *(line for rules in self.chains.values() for line in rules)])


@given(INTERCEPTIONS, INTERCEPTIONS, st.sampled_from([4, 6]))
def test_applying_replaces_and_cleaning_leaves_nothing_but_what_others_made(
    first: Interception, second: Interception, version: int
) -> None:
    table, alone = Table(FOREIGN), Table(FOREIGN)
    table.restore(apply_script(first, version, table.shown()))
    table.restore(apply_script(second, version, table.shown()))
    alone.restore(apply_script(second, version, alone.shown()))
    assert {name: sorted(rules) for name, rules in table.chains.items()} == {
        name: sorted(rules) for name, rules in alone.chains.items()
    }
    table.restore(clean_script(table.shown()))
    assert table.shown() == Table(FOREIGN).shown()
    assert clean_script(table.shown()) == ""


def test_the_proxys_own_connections_pass_before_anything_is_redirected() -> None:
    script = apply_script(Interception(proxy_uids=(1337,), proxy_gids=(7,), exclude_outbound_ports=(22,)), 4, "")
    output = [line for line in script.splitlines() if line.startswith("-A ISTHMUS_OUTPUT")]
    assert output == [
        "-A ISTHMUS_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTHMUS_OUTPUT -m owner --gid-owner 7 -j RETURN",
        "-A ISTHMUS_OUTPUT -d 127.0.0.0/8 -j RETURN",
        "-A ISTHMUS_OUTPUT -p tcp --dport 22 -j RETURN",
        "-A ISTHMUS_OUTPUT -p tcp -j ISTHMUS_REDIRECT",
    ]


def test_networks_go_to_the_tables_of_their_version() -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    interception = Interception(proxy_uids=(1,), outbound_networks=networks)
    assert "fd00" not in apply_script(interception, 4, "")
    assert "-d fd00::/8 -j ISTHMUS_REDIRECT" in apply_script(interception, 6, "")


def test_print_shows_both_versions_and_needs_no_rights(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["iptables", "--print", "--proxy-uid", "1337", "--inbound-ports", "80,443", "--outbound-cidrs", "-"]) == 0
    )
    said = capsys.readouterr().out
    assert said.count("*nat") == said.count("COMMIT") == 2
    assert all(chain in said for chain in CHAINS)
    assert "--dport 80 -j ISTHMUS_IN_REDIRECT" in said
    assert "-j ISTHMUS_REDIRECT\n" not in said


def test_without_a_user_of_the_proxy_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iptables", "--apply"]) == 1
    assert "--proxy-uid or --proxy-gid is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--print", "--proxy-uid", "x"],
        ["--print", "--inbound-port", "0"],
        ["--print", "--exclude-inbound-ports", "1,65536"],
        ["--print", "--outbound-cidrs", "10.0.0.1/8"],
        ["--print", "--clean"],
        [],
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["iptables", *arguments])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err
