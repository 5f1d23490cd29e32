"""What a pipeline can hear of a request, as far as its class and its files tell."""

import msgspec


class Abilities(msgspec.Struct, frozen=True):
    """`tokens` are the most that each tokenizer reads, `ignores` what the call takes none of."""

    tokens: dict[str, int]
    ignores: tuple[str, ...]
