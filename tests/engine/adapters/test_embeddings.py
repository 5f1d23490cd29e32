"""Textual inversions: a word means a file's vectors, in the prompts that say it and no others."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gateway.catalog.cards import CardError, EmbeddingCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.adapters.embeddings import read_embedding
from gateway.job import AdapterUse, Job
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
from tests.engine.workbench import (
    CPU,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)


def vectors(seed: int, number: int) -> Tensor:
    return torch.randn(number, tiny.WIDTH, generator=torch.Generator().manual_seed(seed))


def saved(folder: Path, family: str, word: str, **tensors: Tensor) -> EmbeddingCard:
    file = folder / f"{word}.safetensors"
    save_file(tensors, file)
    return EmbeddingCard(endpoint=family, route=word, source=file.name, path=file)


def cards(folder: Path, family: str) -> list[EmbeddingCard]:
    """A word of two vectors, and a word of one, as the family's trainers write them."""
    if family == "sdxl":
        return [
            saved(folder, family, word, clip_l=vectors(seed, number),
                  clip_g=vectors(seed + 10, number))
            for word, seed, number in (("ohwx", 1, 2), ("bad-hands", 2, 1))
        ]
    return [
        saved(folder, family, "ohwx", emb_params=vectors(1, 2)),
        saved(folder, family, "bad-hands", **{"<any>": vectors(2, 1)[0]}),
    ]


def stock(
    family: str, words: list[EmbeddingCard], wanted: Job, lora: dict[str, Tensor] | None = None
) -> Tensor:
    """The same through diffusers' own loading."""
    return alone(loaded(family, words, lora), wanted)


def loaded(family: str, words: list[EmbeddingCard], lora: dict[str, Tensor] | None = None) -> Any:
    """A pipeline with words' files, and a LoRA's tensors, as diffusers itself loads them."""
    pipeline: Any = tiny.build(family)
    if lora:
        pipeline.load_lora_weights(lora)
    for card in words:
        if family == "sdxl":
            for end, seed in (("", "clip_l"), ("_2", "clip_g")):
                pipeline.load_textual_inversion(
                    load_file(card.place)[seed], token=card.route,
                    text_encoder=getattr(pipeline, f"text_encoder{end}"),
                    tokenizer=getattr(pipeline, f"tokenizer{end}"),
                )
        else:
            pipeline.load_textual_inversion(str(card.place), token=card.route)
    return pipeline


def bench_of(family: str, words: list[EmbeddingCard]) -> Workbench:
    known = {(card.endpoint, card.route): card for card in words}
    catalog = Catalog({family: EndpointCard(id=family)}, {}, embeddings=known)
    return Workbench({family: built(family)}, catalog=catalog)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_words_mean_what_diffusers_makes_of_the_files(family: str, tmp_path: Path) -> None:
    words = cards(tmp_path, family)
    jobs = [
        job(family, "a photo of ohwx here", 1, 2),
        job(family, "a cat", 2, 2, negative_prompt="bad-hands, blur"),
        job(family, "ohwx", 3, 2, negative_prompt="bad-hands"),
        job(family, "a photo of xohwxx here", 1, 2),
        job(family, "a cat", 4, 2),
    ]
    bench = bench_of(family, words)
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    told = {(sample, *event.digests) for sample, event in enumerate(bench.events)
            if hasattr(event, "digests")}
    bench.close()
    assert not failures(bench.events)
    pictures = [picture(sample) for sample in samples]
    for one, drawn in zip(jobs[:3], pictures, strict=False):
        assert difference(drawn, stock(family, words, one)) <= TOLERANCE
    for one, drawn in zip(jobs[3:], pictures[3:], strict=True):
        assert difference(drawn, alone(built(family), one)) <= TOLERANCE
    assert difference(pictures[0], alone(built(family), jobs[0])) > 10 * TOLERANCE
    assert any(f"{family}:embedding/ohwx" in one for one in told)
    layer = built(family).text_encoder.get_input_embeddings()
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_a_word_in_an_adapters_file_is_for_those_who_ask_for_it(
    family: str, tmp_path: Path
) -> None:
    words, ink = cards(tmp_path, family), tiny_loras.save(family, tmp_path, "ink")
    lora = load_file(ink.place)
    bundled = {
        f"bundle_emb.{word.route}.{'string_to_param.*' if family == 'sd' else name}": tensor
        for word in words
        for name, tensor in load_file(word.place).items()
    }
    save_file(lora | bundled, ink.place)
    plain = job(family, "a photo of ohwx here", 1, 2, negative_prompt="Bad-Hands, blur")
    inked = msgspec.structs.replace(plain, adapters=(AdapterUse("ink", 1.0),))
    silent = msgspec.structs.replace(inked, prompt="a cat", negative_prompt=None)
    bench = Workbench({family: built(family)}, (ink,))
    samples = [bench.add(one)[0] for one in (inked, silent, plain)]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    wanted = (stock(family, words, inked, lora), stock(family, [], silent, lora),
              stock(family, [], plain))  # fmt: skip
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(wanted[0], stock(family, [], inked, lora)) > 10 * TOLERANCE


def test_comfyuis_spelling_of_a_word_is_the_word(tmp_path: Path) -> None:
    words = {("sd", card.route): card for card in cards(tmp_path, "sd")}
    catalog = Catalog({"sd": EndpointCard(id="sd")}, {}, embeddings=words)
    assert catalog.spoken("sd", "an embedding:ohwx, embedding:ohwxy (embedding:bad-hands:1.2)") == (
        "an ohwx, embedding:ohwxy (bad-hands:1.2)"
    )
    assert catalog.words("sd") == ["bad-hands", "ohwx"]


def test_a_word_that_is_written_anew_means_the_new_vectors(tmp_path: Path) -> None:
    first = saved(tmp_path, "sd", "ohwx", emb_params=vectors(1, 2))
    wanted = job("sd", "an ohwx", 1, 1)
    bench = bench_of("sd", [first])
    before = bench.add(wanted)[0]
    bench.run()
    saved(tmp_path, "sd", "ohwx", emb_params=vectors(5, 3))
    after = bench.add(wanted)[0]
    bench.run()
    image = stock("sd", [first], wanted)
    bench.close()
    assert not failures(bench.events)
    assert difference(picture(after), image) <= TOLERANCE
    assert difference(picture(before), image) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("family", "names", "encoders"),
    [
        ("sd", ("emb_params",), ("text_encoder",)),
        ("sd", ("string_to_param.*",), ("text_encoder",)),
        ("sdxl", ("clip_l", "clip_g"), ("text_encoder", "text_encoder_2")),
        ("sdxl", ("text_encoders_0", "text_encoders_1"), ("text_encoder", "text_encoder_2")),
        ("sdxl", ("clip_g",), ("text_encoder_2",)),
    ],
)
def test_each_trainers_names_mean_the_encoders_that_they_learned_for(
    tmp_path: Path, family: str, names: tuple[str, ...], encoders: tuple[str, ...]
) -> None:
    given = {name: vectors(seed, 2) for seed, name in enumerate(names)}
    more = {"step": torch.tensor(3), "string_to_token.*": torch.tensor(265)}
    found = read_embedding(saved(tmp_path, family, "ohwx", **given, **more), built(family), CPU)
    assert tuple(sorted(found.vectors)) == encoders
    for name, encoder in zip(names, encoders, strict=True):
        assert torch.equal(found.vectors[encoder], given[name])


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"emb_params": torch.ones(1, 7)}, "'emb_params' is no word of 'sd'"),
        ({"clip_g": torch.ones(1, tiny.WIDTH)}, "'clip_g' is no word of 'sd'"),
        ({"emb_params": torch.full((1, tiny.WIDTH), float("nan"))}, "not finite"),
        ({"emb_params": torch.ones(0, tiny.WIDTH)}, "'emb_params' has no vectors"),
        ({"a": torch.ones(1, tiny.WIDTH), "b": torch.ones(1, tiny.WIDTH)}, "'b' is a second word"),
        ({"step": torch.tensor(3)}, "holds no vectors"),
    ],
)
def test_what_is_no_word_for_the_encoders_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], says: str
) -> None:
    with pytest.raises(CardError, match=says):
        read_embedding(saved(tmp_path, "sd", "odd", **tensors), built("sd"), CPU)
