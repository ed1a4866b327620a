"""Prometheus text."""

from gateway.ops.metrics import Metrics


def test_counters_and_gauges_each_have_one_type_line() -> None:
    metrics = Metrics()
    metrics.count("polls")
    metrics.count("polls", 2)
    metrics.gauges(lambda: {'link_up{asset="a"}': 1, 'link_up{asset="b"}': 0})
    metrics.gauges(lambda: {"expires": 12.5})
    assert metrics.text() == (
        "# TYPE dmz_polls_total counter\n"
        "dmz_polls_total 3\n"
        "# TYPE dmz_link_up gauge\n"
        'dmz_link_up{asset="a"} 1\n'
        'dmz_link_up{asset="b"} 0\n'
        "# TYPE dmz_expires gauge\n"
        "dmz_expires 12.5\n"
    )
