"""What a key may have at once, counted where the drawing begins and ends."""

from pathlib import Path

import pytest

from gateway.errors import OutOfRange, RateLimited
from gateway.keys import KeyStore
from gateway.settings import Settings
from gateway.web.auth import Caller, Doorkeeper


def door_and_caller(data: Path, limit: int | None) -> tuple[Doorkeeper, Caller]:
    keys = KeyStore(data)
    key, _ = keys.create("shop", concurrent_samples=limit)
    return Doorkeeper(Settings(data=data), keys), Caller(key)


def test_samples_in_progress_are_bounded_and_given_back(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, 4)
    with door.permit(caller, 3):
        with pytest.raises(RateLimited) as refused, door.permit(caller, 2):
            pytest.fail("five of four were let in")
        assert refused.value.retry_after_seconds
        assert refused.value.code == "rate_limit_exceeded"
        with door.permit(caller, 1):
            pass
    with door.permit(caller, 4):
        pass


def test_a_failed_drawing_gives_its_samples_back(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, 1)
    with pytest.raises(ZeroDivisionError), door.permit(caller, 1):
        raise ZeroDivisionError
    with door.permit(caller, 1):
        pass


def test_no_limit_and_no_key_are_not_counted_out(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, None)
    with door.permit(caller, 1000), door.permit(caller, 1000), door.permit(Caller(), 1000):
        pass


def test_one_keys_samples_are_not_anothers(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, 1)
    other, _ = KeyStore(tmp_path).create("other", concurrent_samples=1)
    with door.permit(caller, 1), door.permit(Caller(other), 1):
        pass


def test_a_keys_batches_take_no_room_from_its_people(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, 4)
    batch = Caller(caller.key, "batch")
    with door.permit(batch, 4), door.permit(caller, 4):
        pass
    with door.permit(batch, 4), pytest.raises(RateLimited), door.permit(batch, 1):
        pytest.fail("batches went over the limit")
    with door.permit(caller, 3), pytest.raises(RateLimited), door.permit(batch, 2):
        pytest.fail("a batch took what people hold")


def test_what_can_never_fit_is_not_worth_another_try(tmp_path: Path) -> None:
    door, caller = door_and_caller(tmp_path, 4)
    with pytest.raises(OutOfRange) as refused, door.permit(caller, 5):
        pytest.fail("five of four were let in")
    assert (refused.value.status, refused.value.param) == (400, "n")
