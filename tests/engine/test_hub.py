"""The loop: what shares, what fails alone, who goes first, and that it rests."""

import functools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput

from gateway.engine import hub
from gateway.engine.device import heap
from gateway.engine.hub import Hub
from gateway.engine.loading import loading
from gateway.engine.pipelines.parking import Entry
from gateway.engine.sample import Sample
from gateway.job import Finished, Job
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import (
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)


@pytest.fixture
def bench() -> Any:
    bench = Workbench({"sd": built("sd")})
    yield bench
    bench.close()


def entry_of(bench: Workbench, endpoint: str, component: str, method: str = "forward") -> Entry:
    entries = bench.shelf.loaded[endpoint].entries
    [entry] = [one for one in entries if (one.component, one.method) == (component, method)]
    return entry


def fail_when(entry: Entry, fails: Any, error: Exception) -> list[int]:
    """Have an entry point raise for some calls; returns a list that grows by their rows."""
    inner, rows = entry.original, list[int]()

    def run(*args: Any, **kwargs: Any) -> Any:
        rows.append(args[0].shape[0])
        if fails(args[0]):
            raise error
        return inner(*args, **kwargs)

    entry.original = run
    return rows


class Strange(DiffusionPipeline):  # type: ignore[misc]
    """A pipeline of no family: two nets of its own, called in its own way."""

    def __init__(self, brush: Any, eye: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(brush=brush, eye=eye, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self, prompt: str, num_inference_steps: int = 2, generator: Any = None,
        output_type: str = "pt",
    ) -> Any:
        code = torch.tensor([[float(ord(letter)) / 128 for letter in prompt[:4].ljust(4)]])
        seen = self.eye(code)
        latents = torch.randn(1, 3, 8, 8, generator=generator)
        self.scheduler.set_timesteps(num_inference_steps)
        for moment in self.scheduler.timesteps:
            drawn = self.brush(moment, picture=latents, hint={"seen": seen})
            latents = self.scheduler.step(drawn, moment, latents).prev_sample
        return ImagePipelineOutput(images=(latents / 4 + 0.5).clamp(0, 1))


class Brush(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, moment: Any, picture: Any, hint: Any) -> Any:
        tint = hint["seen"][:, :3, None, None] + moment.reshape(-1, 1, 1, 1) / 1000
        return self.net(picture) + tint


def test_a_pipeline_never_heard_of_is_shared_too() -> None:
    torch.manual_seed(0)
    strange = Strange(Brush(), torch.nn.Linear(4, 4), DDIMScheduler())
    jobs = [job("strange", prompt, seed, seed) for seed, prompt in enumerate("abc", start=1)]
    wanted = [alone(strange, one) for one in jobs]
    bench = Workbench({"strange": strange})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    # The first forward of a kind is proved by a call alone.
    assert bench.rows["brush"] == [3, 1, 2, 1]
    assert bench.rows["eye"] == [3, 1]


def test_everything_heavy_is_shared(bench: Workbench) -> None:
    for seed in range(4):
        bench.add(job("sd", f"prompt {seed}", seed, 2))
    bench.run()
    # One of each is a call alone, which proves that together is no different.
    assert bench.forwards == {"text_encoder.forward": 3, "unet.forward": 3, "vae.decode": 2}


def test_who_is_answered_goes_on_while_the_others_forward_runs(bench: Workbench) -> None:
    decode = entry_of(bench, "sd", "vae", "decode")
    inner, told = decode.original, list[int]()

    def run(*args: Any, **kwargs: Any) -> Any:
        told.append(sum(isinstance(event, Finished) for event in bench.events))
        return inner(*args, **kwargs)

    decode.original = run
    for edge in (32, 64):
        bench.add(job("sd", "one", 1, 1, width=edge, height=edge))
    bench.run()
    assert told == [0, 1]


def test_one_prompt_is_encoded_once(bench: Workbench) -> None:
    first = job("sd", "same", 0, 1, seeds=(1, 2, 3))
    bench.add(first)
    bench.run()
    assert bench.rows["text_encoder"] == [1, 1]
    bench.add(job("sd", "same", 9, 1))
    bench.run()
    assert bench.rows["text_encoder"] == [1, 1]
    pictures = [event.pixels.data for event in bench.events if isinstance(event, Finished)]
    assert len(set(pictures)) == 4


def test_a_poisoned_call_fails_alone(bench: Workbench) -> None:
    jobs = [job("sd", prompt, seed, 2) for seed, prompt in enumerate(["a", "b", "c"])]
    wanted = [alone(built("sd"), one) for one in jobs]
    samples = [bench.add(one)[0] for one in jobs]
    poison = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))

    def is_poisoned(x: Any) -> bool:
        pattern = poison / poison.norm()
        return any(
            float((row * pattern[0]).sum() / row.norm()) > 0.99 for row in x.float()
        )

    rows = fail_when(entry_of(bench, "sd", "unet"), is_poisoned, ValueError("poison"))
    bench.run()
    assert [(fault.sample, fault.code) for fault in failures(bench.events)] == [
        (0, "generation_failed")
    ]
    assert samples[1].fault is not None
    for index in (0, 2):
        assert difference(picture(samples[index]), wanted[index]) <= TOLERANCE
    assert rows[:4] == [6, 2, 2, 2]
    assert rows[4:] == [4, 2]  # proved by a call alone


def test_a_failed_forward_answers_its_members_and_the_loop_lives_on(bench: Workbench) -> None:
    entry = entry_of(bench, "sd", "unet")
    inner = entry.original
    fail_when(entry, lambda _: True, ValueError("all broken"))
    for seed in range(3):
        bench.add(job("sd", "a", seed, 2))
    bench.run()
    assert [fault.code for fault in failures(bench.events)] == ["generation_failed"] * 3
    assert "all broken" not in failures(bench.events)[0].message
    entry.original = inner
    again = bench.add(job("sd", "a", 1, 2))[0]
    bench.run()
    assert picture(again) is not None


def test_out_of_memory_halves_the_group(bench: Workbench) -> None:
    jobs = [job("sd", f"prompt {seed}", seed, 2, guidance_scale=1.0) for seed in range(5)]
    wanted = [alone(built("sd"), one) for one in jobs]
    error = torch.OutOfMemoryError("no room")
    rows = fail_when(entry_of(bench, "sd", "unet"), lambda x: x.shape[0] > 2, error)
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    # Found out once; the second step keeps to what fits.
    assert rows == [5, 2, 1, 2, 1, 2, 2, 1]  # the first two are proved by a call alone


def test_one_sample_too_large_is_told_so(bench: Workbench) -> None:
    error = torch.OutOfMemoryError("no room")
    fail_when(entry_of(bench, "sd", "unet"), lambda _: True, error)
    bench.add(job("sd", "a", 1, 2))
    bench.run()
    assert [fault.code for fault in failures(bench.events)] == ["out_of_memory"]


def test_calls_that_cannot_be_merged_after_all_run_alone_from_then_on(bench: Workbench) -> None:
    error = RuntimeError("stack expects each tensor to be equal size")
    unet = entry_of(bench, "sd", "unet")
    rows = fail_when(unet, lambda x: x.shape[0] > 1, error)
    for seed in range(2):
        bench.add(job("sd", f"{seed}", seed, 2, guidance_scale=1.0))
    bench.run()
    assert not failures(bench.events)
    assert rows == [2, 1, 1, 1, 1]


def test_samples_start_up_to_the_batch_and_each_turn_refills(bench: Workbench) -> None:
    bench.hub.max_batch = 2
    for seed in range(5):
        bench.add(job("sd", "a", seed, 1, guidance_scale=1.0))
    bench.run()
    assert max(bench.rows["unet"]) == 2
    assert len([event for event in bench.events if isinstance(event, Finished)]) == 5


def test_interactive_samples_push_batch_samples_aside(bench: Workbench) -> None:
    bench.hub.max_batch = 1
    patient = bench.add(job("sd", "a", 1, 4, priority="batch"))[0]
    bench.until(lambda: patient.num_steps_done >= 1)
    urgent = bench.add(job("sd", "b", 2, 2))[0]
    bench.until(lambda: urgent.is_done)
    assert patient.num_steps_done == 1
    bench.run()
    wanted = alone(built("sd"), patient.job)
    assert difference(picture(patient), wanted) <= TOLERANCE


def test_endpoints_take_turns() -> None:
    bench = Workbench({"sd": built("sd"), "flux": built("flux")})
    for seed in range(3):
        bench.add(job("sd", "a", seed, 6))
    quick = bench.add(job("flux", "b", 1, 1))[0]
    bench.until(lambda: quick.is_done)
    assert all(sample.num_steps_done < 6 for sample in bench.hub.running)
    bench.run()
    bench.close()
    assert not failures(bench.events)


def test_a_late_sample_is_ended_and_its_place_is_free(bench: Workbench) -> None:
    bench.hub.max_batch = 1
    late = bench.add(job("sd", "a", 1, 10, deadline=time.monotonic() + 60))[0]
    waiting = bench.add(job("sd", "b", 2, 1))[0]
    bench.until(lambda: late.num_steps_done >= 2)
    object.__setattr__(late, "job", Job(**{**_facts(late.job), "deadline": time.monotonic() - 1}))
    num_steps = late.num_steps_done
    bench.run()
    assert late.num_steps_done == num_steps
    assert [fault.code for fault in failures(bench.events)] == ["deadline_exceeded"]
    assert picture(waiting) is not None


def test_a_sample_too_late_to_start_does_no_work(bench: Workbench) -> None:
    bench.add(job("sd", "a", 1, 2, deadline=time.monotonic() - 1))
    bench.run()
    assert [fault.code for fault in failures(bench.events)] == ["deadline_exceeded"]
    assert not bench.forwards


def test_memory_is_given_back_after_a_rest_alone(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[None] = []
    monkeypatch.setattr(heap, "give_back", lambda: given.append(None))
    bench.add(job("sd", "a", 1, 1))
    bench.run()
    bench.hub.tell(lambda: None)
    bench.hub.take_commands(block=True)
    assert not given, "what the last turn took is told when nobody is there any more"
    monkeypatch.setattr(hub, "REST_SECONDS", 0.01)
    bench.hub.take_commands(block=True)
    assert len(given) == 1


def test_an_idle_hub_blocks(bench: Workbench) -> None:
    hub = bench.hub
    turns: list[int] = []
    turn = hub.turn
    hub.turn = lambda: (turns.append(1), turn())[1]  # type: ignore[method-assign,func-returns-value]
    hub.start()
    try:
        time.sleep(0.1)
        at_rest = len(turns)
        clock = time.pthread_getcpuclockid(hub._thread.ident or 0)
        used = time.clock_gettime(clock)
        time.sleep(0.3)
        assert len(turns) == at_rest <= 1
        assert time.clock_gettime(clock) - used < 0.03
        samples = [Sample(job("sd", "a", 1, 1), 0, 0, bench.events.append)]
        hub.tell(lambda: hub.waiting.extend(samples))
        _until(lambda: samples[0].is_done)
        assert picture(samples[0]) is not None
    finally:
        hub.stop()
        hub.join(5)
    assert not hub.lives


def test_a_fault_of_the_loop_itself_is_told_and_survived(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub: Hub = bench.hub
    hub.start()
    try:
        monkeypatch.setattr(hub.forwards, "answer", _broken)
        hub.tell(functools.partial(_add, bench, "a"))
        _until(lambda: failures(bench.events))
        monkeypatch.undo()
        hub.tell(functools.partial(_add, bench, "b"))
        _until(lambda: any(isinstance(event, Finished) for event in bench.events))
    finally:
        hub.stop()
        hub.join(5)


def test_saved_pipelines_load_from_their_folder(tmp_path: Path) -> None:
    card = tiny.save("sdxl", tmp_path, id="tiny-sdxl")
    assert (card / "card.toml").exists()
    assert list(card.glob("unet/*.safetensors"))


def _add(bench: Workbench, prompt: str) -> None:
    bench.add(job("sd", prompt, 1, 1))


def _broken(_: Any) -> None:
    raise AssertionError("a mistake of ours")


def _facts(one: Job) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _until(done: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_a_cpu_decodes_no_more_pixels_at_once_than_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "HOST_PIXELS", 2 * 32 * 32)
    bench = Workbench({"sd": built("sd")})
    for seed in range(12):
        bench.add(job("sd", f"prompt {seed}", seed, 1))
    bench.run()
    bench.add(job("sd", "larger", 0, 1, width=64, height=64))
    bench.run()
    bench.close()
    assert len([event for event in bench.events if isinstance(event, Finished)]) == 13
    assert set(bench.rows["vae"]) == {1, 2}, "and one that is larger by itself"
    assert max(bench.denoiser_rows()) > 2
    assert bench.hub.forwards.best_size("sd", 64 * 64) in (None, 1)
