"""JSON and TOML that somebody bent: values of other types, sizes and meanings, and torn bytes."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", ".", "..", "../../secret", "/etc/passwd", "a/b", "\\..\\x", "C:\\x", "~", "x" * 5000,
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "=cmd|'/c calc'!A0",
    "+1", "-1", "@SUM(A1)", "\t=1", "a|b`c`*d*[e](f)", r"\input{/etc/passwd}", "$x^2$ & % # _ ~",
    "{{ 7*7 }}", "\x1b[31m", "\x00", "\u202e", "\u2028", "\ud800", "é" * 300, "nan", "1e400",
    "kd[a=" + "(" * 500, "3*" * 50 + "resnet8", "resnet8>" * 60 + "resnet8", "kd+kd", "a+b+c",
    "hf-hub:x/y", "local-dir:/etc", "resnet8[checkpoint=/etc/passwd]", "ok", "digits", "resnet8",
)  # fmt: skip
"""Names and other text that lead elsewhere, break out, or are of another kind than expected."""

NUMBERS = (
    0, 1, -1, 2, 0.5, -0.0, 1e-320, 5e-324, 1e-300, 1e16, 1e300, 1.7e308, -1.7e308, 2**31, 2**53,
    2**63, -(2**63), 2**64, 10**30, 10**400, 10**4000, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip


_ENDLESS = float("inf")


def nested(depth: int) -> Any:
    """Lists in lists."""
    found: Any = 0
    for _ in range(depth):
        found = [found]
    return found


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.text(max_size=20),
    st.floats(),
    st.integers(),
    st.sampled_from((None, True, False, [], {}, [None], {"": ""}, {"__class__": "x"}, [[0.5]])),
    st.sampled_from((20, 150, 250)).map(nested),
    st.dictionaries(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), max_size=3),
    st.lists(st.sampled_from(NUMBERS), max_size=4),
)

CHANGES = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.sampled_from(("like",) * 3 + ("set", "drop", "add", "rename")),
        VALUES, st.sampled_from(TEXTS),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
"""What is done to a tree: where (the number of the place), what, and with which value and key."""

DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(("cut", "flip", "insert", "repeat")), st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
"""What is done to bytes, and where."""


def bent(tree: Any, changes: Sequence[tuple[int, str, Any, str]]) -> Any:
    """A copy of the tree with these changes."""
    tree = copy.deepcopy(tree)
    for number, what, given, name in changes:
        value = copy.deepcopy(given)
        places = list(_places(tree))
        holder, key = places[number % len(places)]
        if what == "like":
            holder[key] = _like(holder[key], number, name)
        elif what == "set":
            holder[key] = value
        elif what == "drop":
            del holder[key]
        elif isinstance(holder, dict):
            holder[name] = value if what == "add" else holder.pop(key)
        else:
            holder.insert(key, value)
        if not tree:
            break
    return tree


def torn(content: bytes, damage: Sequence[tuple[str, float, bytes]]) -> bytes:
    """The bytes with this damage."""
    for what, share, piece in damage:
        at = int(share * len(content))
        if what == "cut":
            content = content[:at]
        elif what == "flip":
            content = content[:at] + piece[:1] + content[at + 1 :]
        elif what == "insert":
            content = content[:at] + piece + content[at:]
        else:
            content = content[:at] + content[at // 2 :]
    return content


def _like(old: Any, number: int, name: str) -> Any:
    """Another value of the same type, so that what is bent still passes for sound."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, (int, float)):
        others = [one for one in NUMBERS if type(one) is type(old) and abs(one) < _ENDLESS]
        return others[number % len(others)]
    return name if isinstance(old, str) else old


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value's holder and key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield tree, key
        if isinstance(value, (dict, list)) and value:
            yield from _places(value)
