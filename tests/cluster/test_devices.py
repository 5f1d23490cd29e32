"""Which devices draw: names become the places of replicas."""

import pytest

from gateway.cluster.devices import num_cores, places_here, places_there
from gateway.cluster.replica import visible
from gateway.settings import SettingsError


def test_each_named_device_is_a_place_that_sees_no_other() -> None:
    one, other = places_here(["cuda:0", "cuda:3"])
    assert (one.name, one.device, one.index) == ("cuda:0", "cuda", 0)
    assert (other.name, other.device, other.index) == ("cuda:3", "cuda", 3)


def test_a_device_that_is_named_twice_is_shared() -> None:
    names = [(place.name, place.index) for place in places_here(["cuda:0", "cuda:0", "cuda:1"])]
    assert names == [("cuda:0.1", 0), ("cuda:0.2", 0), ("cuda:1", 1)]


def test_all_are_as_many_as_there_are() -> None:
    names = [place.name for place in places_here(["all"], lambda: 3)]
    assert names == ["cuda:0", "cuda:1", "cuda:2"]
    with pytest.raises(SettingsError, match="none is found"):
        places_here(["all"], lambda: 0)


def test_processors_are_divided_among_replicas_without_a_gpu() -> None:
    places = places_here(["cpu:2"])
    assert [(place.name, place.device) for place in places] == [("cpu.1", "cpu"), ("cpu.2", "cpu")]
    assert {place.threads for place in places} == {max(1, num_cores() // 2)}
    assert places_here(["cpu:1"])[0].name == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "cpu:1000", "", "cuda:0;rm"])
def test_a_name_that_is_none_is_refused_with_what_was_wanted(name: str) -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_DEVICES \(--devices\) = .*expected"):
        places_here([name])


def test_in_a_cluster_devices_are_counted_not_named() -> None:
    assert [place.gpus for place in places_there((), 2)] == [1, 1]
    assert [place.gpus for place in places_there(["gpu:4@0.5"], 0)] == [0.5] * 4
    assert [(place.device, place.cores) for place in places_there(["cpu:2"], 0)] == [("cpu", 1)] * 2
    with pytest.raises(SettingsError, match="gpu:4"):
        places_there(["cuda:0"], 8)


def test_a_replica_sees_its_gpu_among_those_that_are_visible() -> None:
    assert visible(1, {}) == "1"
    assert visible(1, {"CUDA_VISIBLE_DEVICES": "4,GPU-5ab"}) == "GPU-5ab"
