"""The clocks of several hosts in network and time namespaces: every bound holds, and steps are found."""

import os

import pytest

from pytest_llmperf.measure.hosts.clock_probe import PROBES
from tests.namespaces import AHEAD_S, Hosts, why_not

WHY_NOT = why_not()
ESTIMATES = int(os.environ.get("LLMPERF_ESTIMATES", "100"))
PPM = (50, -50, 0, 20)
WALL_NS = (0, 3_600_000_000_000, -7_000_000_000, 123_456_789)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_true_offset_is_within_the_bound(count: int, relayed: bool) -> None:
    """Clocks 1,000 s apart, with drift and wrong wall clocks, directly or 2 ms away with jitter; then a step."""
    with Hosts("tests.measure.hosts.clock_program", count) as network:
        targets = []
        for number, (host, address) in enumerate(zip(network.hosts, network.addresses(), strict=True)):
            host.start("serve", address, PPM[number], WALL_NS[number])
            told = host.hear()
            where = {"address": address, "port": told["port"]}
            if relayed:
                relay = network.beside()
                relay.start("relay", [address, told["port"]], 0.002, 0.0005, number)
                where = {"address": "127.0.0.1", "port": relay.hear()["port"]}
            ahead_ns = AHEAD_S * (number + 1) * 1_000_000_000
            targets.append({**where, "ahead_ns": ahead_ns, "ppm": PPM[number], "since_ns": told["since_ns"]})
        network.coordinator.start("measure", targets, ESTIMATES // count, 8 if relayed else PROBES)
        rows = network.coordinator.hear()
        assert [row for row in rows if "error" in row] == []
        assert len(rows) == count * (ESTIMATES // count)
        within = [abs(row["error_ns"]) <= row["bound_ns"] for row in rows]
        bounds = sorted(row["bound_ns"] for row in rows)
        errors = sorted(abs(row["error_ns"]) for row in rows)
        print(
            f"\n{count} hosts, {'relayed' if relayed else 'direct'}: {sum(within)} of {len(within)} within the bound; "
            f"bound: median {bounds[len(bounds) // 2] / 1e3:.1f} us, largest {bounds[-1] / 1e3:.1f} us; "
            f"error: median {errors[len(errors) // 2] / 1e3:.1f} us, largest {errors[-1] / 1e3:.1f} us"
        )
        assert sum(within) >= 0.99 * len(within)
        for number, host in enumerate(network.hosts):
            host.tell(str(10**10 * (-1) ** number))
            host.hear()
            network.coordinator.tell(str(number))
            assert "was stepped" in network.coordinator.hear()["error"]
