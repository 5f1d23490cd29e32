"""The kit tried on engines that are wrong in one thing each."""

import pytest

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from tests.engine import conformance as kit
from tests.engine import lifetimes, wrong
from tests.engine.bench import Bench
from tests.engine.conformance import LEAST_BATCH, MOST_PLACES, WORKING, Promise
from tests.engine.lifetimes import LIVING
from tests.engine.small import TORN, SmallEngine

PATIENCE_SECONDS = 1.0
"""What is wrong by never coming is not waited for any longer."""

CATALOG = Catalog(
    {"sd": EndpointCard(id="sd")},
    {("sd", route): AdapterCard(endpoint="sd", route=route, source="x") for route in ("ink", TORN)},
)


LEAVING = (
    kit.closing_frees_the_place,
    kit.closing_what_has_not_begun_frees_the_place,
    kit.throwing_frees_the_place,
    kit.dropping_frees_the_place,
    kit.dropping_what_has_not_begun_frees_the_place,
    kit.a_cancelled_reader_frees_the_place,
)

BROKEN: list[tuple[type[SmallEngine], Promise]] = [
    (wrong.EndsTwice, kit.every_sample_ends_once_after_its_steps),
    (wrong.NeverEndsOne, kit.every_sample_ends_once_after_its_steps),
    (wrong.RepeatsSteps, kit.every_sample_ends_once_after_its_steps),
    (wrong.ForgetsSteps, kit.every_sample_ends_once_after_its_steps),
    (wrong.MixesPictures, kit.a_picture_is_its_seeds_whoever_is_beside),
    (wrong.DrawsOneSeed, kit.a_picture_is_its_seeds_whoever_is_beside),
    (wrong.PreviewsBackwards, kit.previews_come_in_order_before_the_end),
    (wrong.TornPreviews, kit.previews_come_in_order_before_the_end),
    (wrong.FailsAll, kit.a_fault_is_told_to_those_it_is_of),
    (wrong.Succeeds, kit.a_fault_is_told_to_those_it_is_of),
    (wrong.HasOwnCodes, kit.a_fault_is_told_to_those_it_is_of),
    (wrong.ServesAnything, kit.what_is_not_served_is_not_found),
    (wrong.HasNoDoor, kit.a_full_door_refuses_before_anything_begins),
    (wrong.RefusesLate, kit.a_full_door_refuses_before_anything_begins),
    (wrong.BeginsWhatItRefuses, kit.a_full_door_refuses_before_anything_begins),
    (wrong.SaysNotWhen, kit.a_full_door_refuses_before_anything_begins),
    (wrong.HasOneDoor, kit.a_batch_leaves_people_their_door),
    (wrong.FirstComeFirstServed, kit.people_pass_a_batch),
    *((wrong.IgnoresWhoLeaves, promise) for promise in LEAVING),
    *((wrong.NoticesTooLate, promise) for promise in LEAVING),
    (wrong.IsAGenerator, kit.closing_what_has_not_begun_frees_the_place),
    (wrong.IsAGenerator, kit.dropping_what_has_not_begun_frees_the_place),
    (wrong.GoesOnAfterTheEnd, kit.nothing_comes_after_the_end),
    (wrong.IgnoresDeadlines, kit.a_deadline_that_has_passed_is_told_and_draws_nothing),
    (wrong.IgnoresDeadlines, lifetimes.a_deadline_passes_in_mid_picture),
    (wrong.HurriesBeforeDeadlines, kit.a_deadline_far_off_changes_nothing),
    (wrong.WaitsForReaders, kit.a_stream_that_nobody_reads_holds_up_nobody),
    (wrong.CountsNothing, kit.status_counts_what_is_inside),
    (wrong.SaysNoSeconds, kit.status_counts_what_is_inside),
    (wrong.LoadsNothing, kit.an_adapter_is_loaded_when_it_is_asked_for),
    (wrong.LoadsAnything, kit.an_adapter_is_loaded_when_it_is_asked_for),
    (wrong.LetsNothingGo, kit.what_is_served_no_more_is_let_go),
    (wrong.TakesAnyScheduler, kit.what_a_model_can_do_is_answered_without_drawing),
    (wrong.IsReadyAtOnce, lifetimes.it_is_ready_from_its_start_to_its_stop),
    (wrong.ForgetsWhoCameEarly, lifetimes.what_came_before_the_start_is_drawn),
    (wrong.StartsTwice, lifetimes.a_second_start_changes_nothing),
    (wrong.StartsAgain, lifetimes.it_can_stop_before_it_has_started),
    (wrong.StopsOnlyWhatStarted, lifetimes.it_can_stop_before_it_has_started),
    (wrong.StopsNoStart, lifetimes.it_can_stop_while_it_starts),
    (wrong.StopsOnce, lifetimes.it_can_stop_twice),
    (wrong.StopsInAHurry, lifetimes.stopping_lets_what_is_inside_finish_and_refuses_the_rest),
    (wrong.RefusesWhenStopped, lifetimes.stopping_lets_what_is_inside_finish_and_refuses_the_rest),
    (wrong.StopsInSilence, lifetimes.stopping_without_grace_tells_everyone),
    (wrong.LoadsForEver, lifetimes.nothing_is_loaded_after_the_stop),
    (wrong.LoadsForEver, lifetimes.who_waits_for_an_adapter_is_told_of_the_stop),
]


@pytest.mark.parametrize(
    ("make", "promise"), BROKEN, ids=[f"{make.__name__}-{one.__name__}" for make, one in BROKEN]
)
async def test_what_is_wrong_is_found(make: type[SmallEngine], promise: Promise) -> None:
    collection = Collection.of(CATALOG)
    engine = make(collection, LEAST_BATCH, MOST_PLACES)
    bench = Bench(
        engine, collection, "sd", "ink", TORN, {"prompt": TORN},
        long=60, patience_seconds=PATIENCE_SECONDS,
    )
    if promise in WORKING:
        await engine.start()
    try:
        with pytest.raises((Exception, pytest.fail.Exception)):
            await promise(bench)
    finally:
        await engine.stop(0)


def test_every_promise_has_been_broken() -> None:
    broken = {promise.__name__ for _, promise in BROKEN}
    assert {promise.__name__ for promise in (*WORKING, *LIVING)} == broken
