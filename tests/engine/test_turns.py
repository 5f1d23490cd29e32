"""Who goes next, decided on plain facts."""

from dataclasses import dataclass

from gateway.engine.turns import (
    BATCH_AT_ONCE,
    Company,
    Pace,
    Room,
    Shares,
    next_to_advance,
    next_to_start,
)


@dataclass(frozen=True)
class Facts:
    arrival: int
    owner: str = "a"
    endpoint: str = "x"
    is_batch: bool = False
    pixels: int = 100
    num_steps: int = 1


def test_interactive_before_batch_then_fair_between_owners_then_oldest_first() -> None:
    running = [Facts(0, owner="a")]
    old_batch = Facts(1, owner="b", is_batch=True)
    old_greedy, newer_modest, newest = Facts(2, owner="a"), Facts(3, owner="b"), Facts(4, owner="b")
    waiting = [newest, old_greedy, old_batch, newer_modest]
    order = []
    while chosen := next_to_start(waiting, running):
        waiting.remove(chosen)
        running.append(chosen)
        order.append(chosen)
    assert order == [newer_modest, old_greedy, newest, old_batch]


def test_nothing_waits() -> None:
    assert next_to_start([], [Facts(0)]) is None


def test_room_is_counted_per_endpoint_and_batch_gives_way() -> None:
    running = [Facts(0), Facts(1, is_batch=True), Facts(2, endpoint="y")]
    assert Room(running, 2).is_for(Facts(3))
    assert not Room(running, 2).is_for(Facts(3, is_batch=True))
    assert not Room(running, 1).is_for(Facts(3))
    assert Room(running, 1).is_for(Facts(3, endpoint="z", is_batch=True))


def test_batch_samples_pause_while_there_are_too_many() -> None:
    batch, first, second = Facts(0, is_batch=True), Facts(1), Facts(2)
    assert next_to_advance([batch, second, first], 2) == [first, second]
    assert next_to_advance([batch, second, first], 3) == [first, second, batch]


def test_the_endpoint_that_had_least_time_goes_next() -> None:
    shares = Shares()
    turns = []
    for _ in range(9):
        endpoint = shares.next({"slow", "quick"})
        turns.append(endpoint)
        shares.charge(endpoint, 4.0 if endpoint == "slow" else 1.0)
    assert turns.count("quick") >= 3 * turns.count("slow")
    assert turns.count("slow") >= 1


def test_silence_is_no_credit() -> None:
    shares = Shares()
    for _ in range(10):
        shares.charge(shares.next({"busy"}), 1.0)
    turns = []
    for _ in range(4):
        endpoint = shares.next({"busy", "back"})
        turns.append(endpoint)
        shares.charge(endpoint, 1.0)
    assert sorted(turns) == ["back", "back", "busy", "busy"]


def test_an_endpoint_of_batch_samples_gets_a_smaller_share() -> None:
    shares = Shares()
    turns = []
    for _ in range(10):
        endpoint = shares.next({"batch", "live"})
        turns.append(endpoint)
        shares.charge(endpoint, 1.0, is_batch=endpoint == "batch")
    assert turns.count("live") == 4 * turns.count("batch")


def test_pace_knows_a_samples_share_and_its_wait() -> None:
    pace = Pace()
    assert pace.step_seconds == pace.seconds_per_sample_step == 0
    for _ in range(50):
        pace.note(0.8, steps=4, samples=4)
    assert round(pace.seconds_per_sample_step, 6) == 0.2
    assert round(pace.step_seconds, 6) == 0.8


def test_pace_follows_what_changed() -> None:
    pace = Pace()
    pace.note(10, steps=1, samples=1)
    for _ in range(200):
        pace.note(1, steps=1, samples=1)
    assert pace.step_seconds < 1.1


def test_pace_tells_a_turn_of_few_samples_from_one_of_many() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note(0.1 + 0.05, steps=1, samples=1, pixels=100)
    for _ in range(40):
        pace.note(0.1 + 64 * 0.05, steps=64, samples=64, pixels=6400)
    assert round(pace.turn_seconds(100), 3) == 0.15
    assert round(pace.turn_seconds(6400), 3) == 3.3
    assert round(pace.turn_seconds(400), 3) == 0.3  # one sample of four times the size


def test_pace_of_turns_all_alike_grows_with_their_pixels() -> None:
    pace = Pace()
    for _ in range(300):
        pace.note(3.2, steps=64, samples=64, pixels=6400)
    assert round(pace.turn_seconds(100), 3) == 0.05


def test_batch_samples_do_not_fill_the_forwards_of_interactive_ones() -> None:
    many = [Facts(number, is_batch=True) for number in range(64)]
    one = Facts(99)
    assert next_to_advance([*many, one], 64) == [one, many[0]]
    assert len(next_to_advance(many, 64)) == BATCH_AT_ONCE
    assert next_to_advance(many, 4) == many[:4]


def test_no_more_go_than_two_forwards_of_the_best_size_can_use() -> None:
    many = [Facts(number) for number in range(30)]
    assert next_to_advance(many, 64, forwards=lambda _: 1 / 4) == many[:8]
    large = Facts(0, pixels=1600)
    assert next_to_advance([large, *many[1:]], 64, forwards=lambda one: one.pixels / 800) == [large]


def test_short_work_goes_first_and_long_work_is_not_starved() -> None:
    long = Facts(0, num_steps=10)
    soon, later = [[Facts(number) for number in range(begin, begin + 8)] for begin in (40, 80)]
    assert long not in next_to_advance([long, *soon], 64, forwards=lambda _: 1 / 4)
    assert next_to_advance([long, *later], 64, forwards=lambda _: 1 / 4)[0] is long
    assert next_to_start([long, *soon], []) is soon[0]


def test_of_owners_with_as_many_running_the_one_that_had_less_time_starts() -> None:
    older, newer = Facts(1, owner="a"), Facts(2, owner="b")
    had = {"a": 3.0, "b": 1.0}
    assert next_to_start([older, newer], [], lambda owner: had[owner]) is newer
    assert next_to_start([older, newer], [Facts(0, owner="b")], lambda owner: had[owner]) is older


def turn_of(samples: list[Facts], company: Company, fixed: float, each: float) -> list[Facts]:
    company.note(samples, [], 0.0)
    return next_to_advance(
        samples,
        64,
        lambda pixels: company.allows(pixels, lambda most: fixed + each * most),
    )


def test_where_a_turns_time_grows_with_its_samples_each_owner_has_as_many() -> None:
    many = [Facts(number) for number in range(30)]
    few = [Facts(100, owner="b"), Facts(101, owner="b")]
    assert turn_of([*many, *few], Company(), 0.0, 1.0) == [many[0], few[0], many[1], few[1]]
    assert turn_of(many, Company(), 0.0, 1.0) == many


def test_a_turn_costs_something_by_itself_and_still_each_has_as_many() -> None:
    many = [Facts(number) for number in range(30)]
    few = [Facts(number, owner="b") for number in range(100, 109)]
    going = turn_of([*many, *few], Company(), 300.0, 1.0)
    assert len(going) == 18
    assert set(few) < set(going)


def test_where_it_hardly_grows_all_go_along() -> None:
    many, one = [Facts(number) for number in range(30)], Facts(100, owner="b")
    assert len(turn_of([*many, one], Company(), 1e6, 1.0)) == 31


def test_an_owner_that_left_is_expected_back_for_a_moment() -> None:
    company, many = Company(), [Facts(number) for number in range(8)]
    company.note([Facts(9, owner="b")], [], 0.0)
    for now, num_going, has_room in ((0.5, 2, False), (2.0, 8, True)):
        company.note(many[:7], [], now)
        going = next_to_advance(many, 8, lambda pixels: company.allows(pixels, float))
        assert len(going) == num_going
        room = Room(many[:7], 8, {"x": company})
        assert room.is_for(many[7]) == has_room
        assert room.is_for(Facts(10, owner="b"))


def test_a_sample_takes_its_steps_and_what_it_calls_besides() -> None:
    pace = Pace()
    for _ in range(100):  # eight samples at a time: a prompt, three steps, a picture
        for steps, done in ((0, 0), (8, 0), (8, 0), (8, 0), (0, 8)):
            pace.note(0.8, steps, 8, done=done)
    assert 0.45 <= pace.sample_seconds(3) <= 0.55
    assert 0.25 <= pace.sample_seconds(1) <= 0.35
