"""Which states a checkpoint keeps, and when it takes and writes them."""

import time

import pytest
from problems import PROBLEMS, monitor_of

from l0quad.run.checkpoint import Checkpoint
from l0quad.run.outcome import Status


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when a test says so."""
    clock = {"now": 100.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    return clock


class Written(list):
    """What has been written: the places of the states."""

    def __call__(self, states, history):
        self.append(sorted(states))
        return True


def run_of(states=(), seconds=0.0, written=None):
    """The monitor of a solve, as its method sees it, and the checkpoint."""
    checkpoint = Checkpoint(dict(states), (), Written() if written is None else written, seconds)
    monitor = monitor_of(PROBLEMS["gaussian"].core(), checkpoint=checkpoint)
    return monitor, checkpoint


def test_each_part_has_a_state_of_its_own():
    monitor, checkpoint = run_of()
    whole, _ = monitor.begin()
    method, _ = whole.begin()
    first, _ = method.begin()
    first.save(step=1)
    assert list(checkpoint.states) == [(0, 0)]
    second, _ = method.begin()
    second.save(step=1)
    assert list(checkpoint.states) == [(0, 1)], "the first part is over"
    method.save(step=1)
    assert list(checkpoint.states) == [(0,)]
    third, _ = method.begin()
    third.save(step=1)
    assert list(checkpoint.states) == [(0,), (0, 0)], "counted from the method's own state"
    whole.save(outcome=1)
    assert list(checkpoint.states) == [()]


def test_parts_that_are_run_again_come_to_the_later_state():
    monitor, before = run_of()
    method, _ = monitor.begin()[0].begin()
    method.save(step=1)
    method.begin()
    second, _ = method.begin()
    second.save(step=7)
    monitor, checkpoint = run_of(before.states)
    method, saved = monitor.begin()[0].begin()
    assert saved == {"step": 1}
    first, saved = method.begin()
    assert saved is None
    first.save(step=3)
    assert set(checkpoint.states) == {(0,), (0, 0), (0, 1)}, "should it stop here again, the later one is still there"
    assert method.begin()[1] == {"step": 7}


def test_nothing_is_kept_of_what_a_limit_cuts_short():
    monitor, checkpoint = run_of()
    method, _ = monitor.begin()
    monitor.stopped = Status.TIME_LIMIT
    method.save(step=1)
    assert not checkpoint.states


def test_random_numbers_go_on():
    monitor, before = run_of()
    monitor.rng.random(3)
    method, _ = monitor.begin()
    method.save(step=1)
    expected = monitor.rng.random(2).tolist()
    monitor, _ = run_of(before.states)
    monitor.rng.random(50)
    monitor.begin()
    assert monitor.rng.random(2).tolist() == expected


def test_states_are_written_by_time(clock):
    """Every 30 seconds, those that cost something taken once a second; neither takes more than a twentieth of it."""
    written = Written()
    monitor, _ = run_of(seconds=30.0, written=written)
    method, _ = monitor.begin()
    assert method.due()
    clock["now"] += 0.5
    method.save(step=1)
    clock["now"] += 9.9
    assert not method.due(), "taking it took half a second"
    clock["now"] += 0.2
    assert method.due()
    method.save(step=2)
    clock["now"] += 0.9
    assert not method.due()
    clock["now"] += 0.2
    assert method.due()
    assert written == []
    clock["now"] = 130.0
    method.save(step=3)
    method.save(step=4)
    assert len(written) == 1
    monitor.flush()
    monitor.flush()
    assert len(written) == 2, "once more at the end, and not for nothing"


def test_without_a_checkpoint_nothing_is_put_together():
    monitor = monitor_of(PROBLEMS["gaussian"].core())
    method, saved = monitor.begin()
    assert method is monitor
    assert saved is None
    assert not method.due()
    method.save(state=lambda: pytest.fail("called"))
    monitor.flush()
