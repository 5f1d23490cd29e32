"""Keywords that several subjects share, and which of these each stands for.

A keyword alone tells little of the others: coffee is a keyword of the brown heart and of the
hot beverage, the moon one of fifteen moons. It stands for the subject which all words for that
subject describe alike, and whose picture is most like those of the others: unless it is taken for
one whose name a dictionary gives the same meaning, as an extraterrestrial is for an alien.
"""

from collections import defaultdict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from subjects import Subject
from text_encoder import Reader
from torch import Tensor
from words import with_article

TYPICAL = 0.15
"""What likeness of pictures weighs beside that of words."""
MARGIN = 0.05
"""By how much another subject must suit a keyword better than the one it is taken for."""


def read_shared(
    subjects: list[Subject],
    reader: Reader,
    codes: Tensor,
    synonyms: dict[str, set[str]],
    taken: Callable[[Tensor], Tensor],
) -> dict[str, int]:
    """Shared keywords that are likely to be taken for the wrong subject, and the right one.

    `taken` tells subjects `[N]` from sentence embeddings `[N, 384]`.
    """
    sharing = defaultdict(list)
    for index, subject in enumerate(subjects):
        for word in subject.keywords:
            sharing[word].append(index)
    texts = list(dict.fromkeys([*(subject.name for subject in subjects), *sharing]))
    read = dict(zip(texts, reader.sentences(texts), strict=True))
    described = F.normalize(
        torch.stack(
            [
                torch.stack([read[word] for word in (subject.name, *subject.keywords)]).mean(0)
                for subject in subjects
            ]
        ),
        dim=1,
    )
    names = {subject.name for subject in subjects}
    words = [word for word, those in sharing.items() if len(those) > 1 and word not in names]
    asked = reader.sentences([with_article(word) for word in words])
    found = {}
    for word, now in zip(words, taken(asked).tolist(), strict=True):
        those = sharing[word]
        typical = F.cosine_similarity(codes[those], codes[those].mean(0)[None])
        suits = described[those] @ read[word] + TYPICAL * typical
        best = int(suits.argmax())
        if now in those and suits[best] - suits[those.index(now)] > MARGIN:
            is_same = subjects[now].name in synonyms.get(word, ())
            found[word] = now if is_same else those[best]
    return found
