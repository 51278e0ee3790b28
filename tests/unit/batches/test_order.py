"""The order of a batch's lines: shared prefixes beside one another, long outputs first, leaders, the order of the file."""

import json
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable

import pytest

from filestead.decoders import DECODERS
from filestead.domain.batches.line_index import LineIndex
from filestead.domain.batches.order import LineOrder, OrderMode, order_lines
from filestead.domain.batches.validation import LineValidator

CHAT = "/v1/chat/completions"


def index_of(bodies: Iterable[dict[str, object]], url: str = CHAT) -> LineIndex:
    validator = LineValidator(url, DECODERS, serves=lambda model: True)
    for number, body in enumerate(bodies):
        line = {"custom_id": str(number), "method": "POST", "url": url, "body": {"model": "m"} | body}
        validator.feed(json.dumps(line).encode() + b"\n")
    result = validator.finish()
    assert not result.errors
    return result.index


def chat(system: str, user: str, **members: object) -> dict[str, object]:
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]} | members


def shuffled_prompts() -> tuple[list[int], LineIndex]:
    """10 system prompts x 100 lines, in a random order."""
    words = random.Random(7)
    prompts = [" ".join(f"{words.getrandbits(32):08x}" for _ in range(300)) for _ in range(10)]
    lines = [(prompt, line) for prompt in range(10) for line in range(100)]
    words.shuffle(lines)
    return [prompt for prompt, _ in lines], index_of(
        chat(prompts[prompt], f"question {line}") for prompt, line in lines
    )


def hit_share(accesses: Iterable[int], capacity: int) -> float:
    """The share of prompts that a cache of so many prefixes holds already, the least recently used leaving first."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = total = 0
    for prompt in accesses:
        hits += prompt in cache
        total += 1
        cache[prompt] = None
        cache.move_to_end(prompt)
        if len(cache) > capacity:
            cache.popitem(last=False)
    return hits / total


def test_a_cache_of_two_prefixes_is_hit_nearly_always_and_rarely_in_the_order_of_the_file() -> None:
    prompts, index = shuffled_prompts()
    by_prefix = order_lines(index, CHAT)
    assert sorted(by_prefix.positions) == list(range(1000))
    assert hit_share((prompts[position] for position in by_prefix.positions), 2) >= 0.95
    as_they_came = order_lines(index, CHAT, OrderMode.INPUT)
    assert list(as_they_came.positions) == list(range(1000))
    assert hit_share((prompts[position] for position in as_they_came.positions), 2) <= 0.30


def test_each_group_has_one_leader_and_the_others_follow_it() -> None:
    prompts, index = shuffled_prompts()
    order = order_lines(index, CHAT)
    leaders = [place for place in range(1000) if order.is_leader(place)]
    assert leaders == list(range(0, 1000, 100))
    assert all(order.has_followers(place) for place in leaders) and not order.has_followers(999)
    assert len({prompts[order.positions[place]] for place in leaders}) == 10
    alone = order_lines(index, CHAT, OrderMode.INPUT)
    assert not any(alone.has_followers(place) for place in range(1000))


def test_after_a_restart_the_first_line_that_remains_leads() -> None:
    _prompts, index = shuffled_prompts()
    whole = order_lines(index, CHAT)
    done = {index.numbers[whole.positions[place]] for place in range(150)}
    rest = order_lines(index, CHAT, is_done=done.__contains__)
    assert len(rest) == 850 and not done & {index.numbers[position] for position in rest.positions}
    assert [place for place in range(850) if rest.is_leader(place)] == [0, *range(100, 800, 100), 800]


def leaders_of(order: LineOrder) -> list[int]:
    return [order.positions[place] for place in range(len(order)) if order.is_leader(place)]


def test_groups_come_by_lines_times_length_of_their_prefix() -> None:
    few_long = [chat("L" * 5000, str(n)) for n in range(5)]  # 5 x 4,096
    many_short = [chat("S" * 600, str(n)) for n in range(40)]  # 40 x 256
    most = [chat("M" * 2000, str(n)) for n in range(30)]  # 30 x 1,024
    alone = [chat(f"{n}" * 300, "") for n in range(3)]
    order = order_lines(index_of([*alone, *few_long, *many_short, *most]), CHAT)
    assert list(order.positions) == [*range(48, 78), *range(3, 8), *range(8, 48), 0, 1, 2]
    assert leaders_of(order) == [48, 3, 8, 0, 1, 2]


def test_prompts_that_are_only_similar_are_neighbours_by_the_longest_prefix() -> None:
    shared = "intro " * 100
    near = [chat(shared + name * 5000, str(n)) for n in range(5) for name in "ab"]
    far = [chat("z" * 300 + str(n) * 300, "") for n in range(5)]
    order = order_lines(index_of([*near, *far]), CHAT)
    names = ["ab"[position % 2] if position < 10 else "z" for position in order.positions]
    assert "".join(names) in {"aaaaabbbbbzzzzz", "bbbbbaaaaazzzzz"}
    assert Counter(order.groups) == {0: 5, 1: 5, 2: 5}


def test_a_short_common_beginning_with_many_endings_is_one_group() -> None:
    order = order_lines(index_of(chat("c" * 300, f"{n:04}" * 500) for n in range(50)), CHAT)
    assert set(order.groups) == {0}


def test_within_a_group_long_outputs_come_first() -> None:
    limits = [{"max_tokens": 10}, {"max_completion_tokens": 5000}, {}, {"max_tokens": 2000}, {"max_tokens": 20}]
    order = order_lines(index_of(chat("c" * 300, f"{n}", **limit) for n, limit in enumerate(limits)), CHAT)
    assert list(order.positions) == [1, 3, 2, 4, 0]


def test_models_are_groups_of_their_own() -> None:
    order = order_lines(index_of(chat("c" * 300, str(n), model=f"m{n % 2}") for n in range(10)), CHAT)
    assert [position % 2 for position in order.positions] == [0] * 5 + [1] * 5
    assert Counter(order.groups) == {0: 5, 1: 5}


def test_tools_and_system_come_before_the_messages_wherever_they_stand() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 300}}]
    bodies = [{**chat("", str(n) * 300), "tools": tools} for n in range(4)] + [chat("", "x" * n) for n in range(4)]
    assert Counter(order_lines(index_of(bodies), CHAT).groups)[0] == 4


@pytest.mark.parametrize("mode", OrderMode)
def test_embeddings_come_by_length(mode: OrderMode) -> None:
    order = order_lines(index_of([{"input": "x" * n} for n in (5, 900, 40)], "/v1/embeddings"), "/v1/embeddings", mode)
    assert list(order.positions) == ([1, 2, 0] if mode is OrderMode.PREFIX else [0, 1, 2])
    assert not order.has_followers(0)


def test_an_order_of_no_lines_is_empty() -> None:
    assert len(order_lines(LineIndex(), CHAT)) == 0


@pytest.mark.timing
def test_50_000_lines_are_ordered_at_once() -> None:
    index = index_of(chat(f"{n % 100}" * 200, f"{n}" * 100) for n in range(50_000))
    start = time.process_time()
    order_lines(index, CHAT)
    assert time.process_time() - start < 3
