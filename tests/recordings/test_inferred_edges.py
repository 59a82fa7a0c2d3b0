"""What a request waited for, by the times of all requests."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.recordings.inferred_edges import Interval, inferred_edges


def always(*_: int) -> bool:
    return True


def test_a_request_waits_for_what_had_ended() -> None:
    """One after the other; two at once; and one that waits for both."""
    chain = inferred_edges([Interval(5, 10), Interval(12, 20), Interval(20, 30)], always)
    assert chain == [((), 0.0), ((0,), 2e-6), ((1,), 0.0)]
    fork = inferred_edges([Interval(0, 10), Interval(12, 20), Interval(13, 30), Interval(34, 40)], always)
    assert [edges for edges, _ in fork] == [(), (0,), (0,), (1, 2)]


def test_a_pause_without_an_answer_before_it_is_since_the_first_request() -> None:
    assert inferred_edges([Interval(5, 50), Interval(12, 20)], always) == [((), 0.0), ((), 7e-6)]


def test_others_requests_are_not_waited_for() -> None:
    agents = "abab"
    intervals = [Interval(0, 10), Interval(0, 5), Interval(11, 20), Interval(21, 30)]
    edges = inferred_edges(intervals, lambda index, earlier: agents[index] == agents[earlier])
    assert [after for after, _ in edges] == [(), (), (0,), (1,)]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=9))
def test_they_say_the_same_as_all_that_had_ended(spans: list[tuple[int, int]]) -> None:
    """Followed back, they reach exactly the requests that had ended; none is named that another implies."""
    intervals = sorted(Interval(sent, sent + length) for sent, length in spans)
    after = [set(places) for places, _ in inferred_edges(intervals, always)]
    reached: list[set[int]] = []
    for index, places in enumerate(after):
        reached.append(places.union(*(reached[place] for place in places)))
        assert reached[index] == {
            earlier for earlier in range(index) if intervals[earlier].done_ns <= intervals[index].sent_ns
        }
        assert not any(place in reached[later] for place in places for later in places)
