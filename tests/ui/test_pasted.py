"""What a terminal sends when something is pasted into it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from pdconsole.ui.pasted import MOST_PASTED, PasteParser, plain_paste

START, END = "\x1b[200~", "\x1b[201~"
COLOURED = "\x1b[31mq red\x1b[0m\n\x1b]0;title\x07dy \x1b(B\x1b\x1b[A end" + "\x1b" * 9


def parsed(*reads: str) -> list[tuple[str, str]]:
    parser = PasteParser()
    found = []
    for read in reads:
        for message in parser.feed(read):
            if isinstance(message, events.Paste):
                found.append(("paste", message.text))
            elif isinstance(message, events.Key):
                found.append(("key", message.key))
    return found


def test_a_paste_with_sequences_is_one_text_and_no_keys() -> None:
    found = parsed(f"a{START}{COLOURED}{END}b")
    assert found == [("key", "a"), ("paste", "q red\ndy  end"), ("key", "b")]


@given(st.lists(st.integers(0, 70), max_size=6), st.booleans())
def test_it_is_the_same_however_it_is_cut(cuts: list[int], twice: bool) -> None:
    sent = f"j{START}{COLOURED}{END}k" * (2 if twice else 1)
    at = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    reads = [sent[a:b] for a, b in pairwise(at)]
    assert parsed(*reads) == parsed(sent)


def test_an_empty_paste_and_one_without_an_end_give_no_keys() -> None:
    assert parsed(f"{START}{END}x") == [("paste", ""), ("key", "x")]
    assert parsed(f"{START}qq", "\x1b[", "yq") == []


def test_of_a_long_paste_the_beginning_is_taken() -> None:
    ((kind, text),) = parsed(START, *["\x1b[1mlong\x1b[m " * 1000] * 300, END)
    assert kind == "paste"
    assert len(text) == MOST_PASTED


@pytest.mark.parametrize(
    ("pasted", "text"),
    [
        ("one\ttwo\r\nthree", "one two\r\nthree"),
        ("\x1b[38;2;1;2;3mc\x1b[0m", "c"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00\x07\x9bb", "ab"),
        ("half a sequence \x1b[3", "half a sequence 3"),
    ],
)
def test_only_text_is_left(pasted: str, text: str) -> None:
    assert plain_paste(pasted) == text
