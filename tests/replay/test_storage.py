"""Replay: what is drawn, how uniformly, what write-back and the ring do, and the account of what changed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmark.errors import UserError
from bellmark.replay import Replay

BLANK = {"x": torch.zeros(()), "first": torch.zeros((), dtype=torch.bool), "plan": torch.full((2,), -1.0)}


def filled(lengths: list[int], *, worlds: int = 1, capacity: int = 1000, insert_every: int = 1) -> Replay:
    """Episodes of `lengths` rows in every world; x counts the rows of a lane, lane w from 1000 w."""
    replay = Replay(capacity, worlds, BLANK, insert_every=insert_every)
    lanes, count = torch.arange(worlds), 0
    for length in lengths:
        for place in range(length):
            values = {"x": 1000.0 * lanes + count, "first": torch.full((worlds,), place == 0)}
            replay.append(lanes, values, torch.full((worlds,), place == length - 1))
            count += 1
    return replay


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_slices_are_consecutive_rows_of_one_world():
    replay = filled([5, 7, 9], worlds=3)
    rows = replay.draw(64, 4, generator(), whole=False)
    x = replay.read(rows)["x"]
    assert x.shape == (4, 64)
    assert (x.diff(dim=0) == 1).all()


def test_whole_slices_cross_no_reset_and_every_start_is_equally_likely():
    # Episodes of 3, 5 and 4 rows hold 1, 3 and 2 starts of slices of 3 rows: rows 0 | 3 4 5 | 8 9.
    replay = filled([3, 5, 4])
    x = replay.read(replay.draw(6000, 3, generator(), whole=True))["x"]
    starts, counts = x[0].unique(return_counts=True)
    assert starts.tolist() == [0, 3, 4, 5, 8, 9]
    # Binomial(6000, 1/6): mean 1000, standard deviation 28.9; five of them allowed.
    assert ((counts - 1000).abs() < 145).all()


def test_slices_that_cross_begin_anywhere_and_lanes_count_by_their_rows():
    replay = filled([10], worlds=2)
    replay.append(
        torch.tensor([1]), {"x": torch.tensor([1010.0]), "first": torch.tensor([False])}, torch.tensor([True])
    )
    x = replay.read(replay.draw(11_000, 8, generator(), whole=False))["x"]
    starts, counts = x[0].unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2, 1000, 1001, 1002, 1003]  # 10 - 7 and 11 - 7 starts
    assert ((counts - 11_000 / 7).abs() < 5 * (11_000 / 7 * 6 / 7) ** 0.5).all()


def test_the_ring_forgets_the_oldest_and_slices_wrap_around_its_end():
    replay = filled([25], capacity=10)
    assert len(replay) == 10
    x = replay.read(replay.draw(500, 4, generator(), whole=True))["x"]
    assert (x.diff(dim=0) == 1).all()
    assert sorted(x[0].unique().tolist()) == list(range(15, 22))


def test_a_running_episode_can_be_drawn_every_so_many_steps_or_at_its_end():
    assert filled([4], insert_every=-1).draw(1, 2, generator(), whole=True) is not None
    running = Replay(100, 1, BLANK, insert_every=-1)
    by_three = Replay(100, 1, BLANK, insert_every=3)
    seen = []
    for count in range(7):
        row = {"x": torch.tensor([float(count)]), "first": torch.tensor([count == 0])}
        for replay in (running, by_three):
            replay.append(torch.tensor([0]), row, torch.tensor([False]))
        seen.append(int(by_three.visible[0]))
    assert running.draw(1, 2, generator(), whole=True) is None
    assert seen == [0, 0, 3, 3, 3, 6, 6]


def test_fresh_slices_are_served_once_in_order_before_others():
    replay = filled([10, 10], worlds=2)
    x = replay.read(replay.draw(8, 6, generator(), whole=False, fresh=True))["x"]
    assert x[0, :6].tolist() == [0, 6, 12, 1000, 1006, 1012]
    again = replay.read(replay.draw(6, 6, generator(), whole=False, fresh=True))["x"]
    assert again[0].tolist() != x[0, :6].tolist()
    assert replay.served.tolist() == [18, 18]


def test_fresh_slices_that_were_overwritten_are_passed_over():
    replay = filled([100], capacity=20)
    x = replay.read(replay.draw(4, 6, generator(), whole=False, fresh=True))["x"]
    assert x[0, :3].tolist() == [84.0, 90.0, *x[0, 2:3].tolist()]  # the first multiple of 6 among rows 80..99


def test_the_newest_rows_can_be_asked_for_alone():
    x = filled([100]).read(filled([100]).draw(200, 3, generator(), whole=True, newest=10))["x"]
    assert x.min() == 90


def test_the_newest_rows_are_those_of_all_worlds():
    replay = filled([60], worlds=2)
    x = replay.read(replay.draw(200, 3, generator(), whole=True, newest=20))["x"]
    assert (x % 1000).min() == 50


def test_no_slice_inside_any_episode_is_an_error_that_says_so():
    with pytest.raises(UserError, match="no slice of 5 rows lies inside one episode"):
        filled([3, 3, 3, 3]).draw(4, 5, generator(), whole=True)


def test_columns_not_given_are_blank_and_write_back_reaches_only_its_rows():
    replay = filled([6])
    rows = torch.tensor([[1, 2], [2, 3]])
    assert (replay.read(rows)["plan"] == -1).all()
    replay.write(torch.tensor([2, 4, 2]), {"plan": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])})
    assert replay.columns["plan"][:6, 0].tolist() == [-1, -1, 3, -1, 2, -1]  # of row 2, the last value


def equal(a: Replay, b: Replay) -> bool:
    rows = torch.arange(a.worlds * a.rows).view(a.worlds, -1)
    held = rows[torch.arange(a.rows) < a.written.clamp(max=a.rows)[:, None]]
    same = all(torch.equal(a.columns[k][held], b.columns[k][held]) for k in a.columns)
    return same and all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(2, 15), st.integers(1, 3))
def test_what_changed_rebuilds_the_replay(lengths, rows, worlds):
    live, copy = Replay(rows * worlds, worlds, BLANK), Replay(rows * worlds, worlds, BLANK)
    lanes = torch.arange(worlds)
    for number, length in enumerate(lengths):
        for place in range(length):
            values = {"x": torch.full((worlds,), 10.0 * number + place), "first": torch.full((worlds,), place == 0)}
            live.append(lanes, values, torch.full((worlds,), place == length - 1))
        live.write(torch.tensor([0]), {"plan": torch.full((1, 2), float(number))})
        copy.apply(live.changes())
        copy.load_state_dict(live.state_dict())
        assert equal(live, copy)
        assert len(live.changes()["row"]) == 0
    drawn = [r.draw(5, 1, generator(1), whole=True) for r in (live, copy)]
    assert torch.equal(*drawn)
