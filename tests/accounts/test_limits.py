"""What a key may have at once, counted where the drawing begins and ends."""

from pathlib import Path

import pytest

from gateway.accounts.admission import Asker
from gateway.accounts.keys import KeyStore
from gateway.accounts.limits import Account, Caller, Limits, Permit
from gateway.errors import InvalidRequest, OutOfRange, RateLimited


def limits_and_caller(data: Path, limit: int | None) -> tuple[Limits, Caller]:
    keys = KeyStore(data)
    key, _ = keys.create("shop", concurrent_samples=limit)
    return Limits(), Caller(key)


async def let_in(limits: Limits, caller: Caller, num_samples: int) -> None:
    """Draw so many samples in no time."""
    async with limits.permit(caller, num_samples):
        pass


async def test_samples_in_progress_are_bounded_and_given_back(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, 4)
    async with limits.permit(caller, 3):
        with pytest.raises(RateLimited) as refused:
            await let_in(limits, caller, 2)
        assert refused.value.retry_after_seconds
        assert refused.value.code == "rate_limit_exceeded"
        async with limits.permit(caller, 1):
            pass
    async with limits.permit(caller, 4):
        pass


async def test_a_failed_drawing_gives_its_samples_back(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, 1)
    with pytest.raises(ZeroDivisionError):
        async with limits.permit(caller, 1):
            raise ZeroDivisionError
    async with limits.permit(caller, 1):
        pass


async def test_no_limit_and_no_key_are_not_counted_out(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, None)
    async with limits.permit(caller, 1000), limits.permit(caller, 1000):
        await let_in(limits, Caller(), 1000)


async def test_one_keys_samples_are_not_anothers(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, 1)
    other, _ = KeyStore(tmp_path).create("other", concurrent_samples=1)
    async with limits.permit(caller, 1), limits.permit(Caller(other), 1):
        pass


async def test_a_keys_batches_take_no_room_from_its_people(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, 4)
    batch = Caller(caller.key, "batch")
    async with limits.permit(batch, 4), limits.permit(caller, 4):
        pass
    async with limits.permit(batch, 4):
        with pytest.raises(RateLimited):
            await let_in(limits, batch, 1)
    async with limits.permit(caller, 3):
        with pytest.raises(RateLimited):
            await let_in(limits, batch, 2)


async def test_what_can_never_fit_is_not_worth_another_try(tmp_path: Path) -> None:
    limits, caller = limits_and_caller(tmp_path, 4)
    with pytest.raises(OutOfRange) as refused:
        await let_in(limits, caller, 5)
    assert (refused.value.status, refused.value.param) == (400, "n")


async def test_a_request_that_makes_many_runs_counts_as_many(tmp_path: Path) -> None:
    key, _ = KeyStore(tmp_path).create("shop", requests_per_minute=10)
    limits, caller = Limits(), Caller(key)

    async def ask(num_runs: int) -> None:
        await limits.count_request(caller)
        await limits.count_runs(caller, num_runs)

    await ask(6)
    await ask(1)
    with pytest.raises(RateLimited) as refused:
        await ask(4)
    assert 55 < (refused.value.retry_after_seconds or 0) <= 60
    await ask(2)
    with pytest.raises(RateLimited):
        await limits.count_request(caller)
    with pytest.raises(InvalidRequest, match="10 a minute"):
        await limits.count_runs(caller, 11)
    await Limits().count_runs(Caller(), 10**6)
    await Limits().count_runs(Caller(key, "batch"), 10**6)


def test_the_refused_are_told_when_the_keys_own_samples_should_be_done() -> None:
    account = Account(2)
    for seconds in (30.0, 30.0):
        account.note(seconds)
    account.permits = [Permit(1, "interactive", 100.0), Permit(1, "interactive", 110.0)]
    waits = [account.ask(Asker("k", f"{number}"), "interactive", 112.0) for number in range(3)]
    first, second, third = (wait or 0 for wait in waits)
    assert 18 <= first <= 18 * 1.2 + 1
    assert 28 <= second <= 28 * 1.2 + 1
    assert third >= 48
    del account.permits[0]
    assert account.ask(Asker("k", "new"), "interactive", 131.0) is None, "it may have its places"
