"""Operations on questions in words: parts of a text, lists, options, and a few kinds of reasoning in small steps."""

from __future__ import annotations

import re

from everystep.evolve.structures import Operation, Type

_TEXT, _WORDS = Type.TEXT, Type.WORDS
_OPTION = re.compile(r"^\s*(?:\(([A-Z])\)|-)\s*(.*?)\s*$", re.MULTILINE)
_CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}
_HOURS = re.compile(r"(\d{1,2})(am|pm)")
_SHAPES = {2: "line", 3: "triangle", 4: "rectangle", 5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}


def _after_colon(text: str, _: str, option: str) -> str:
    parts = text.split(":", 1) if option == "first" else text.rsplit(":", 1)
    return parts[1]


def _line(text: str, _: str, option: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if option == "first" else lines[-1]


def _characters(text: str, _: str, __: str) -> tuple[str, ...]:
    return tuple(one for one in text if not one.isspace())


def _split(text: str, _: str, option: str) -> tuple[str, ...]:
    parts = re.split({"spaces": r"\s+", "commas": r"\s*,\s*", "sentences": r"(?<=[.?])\s+"}[option], text)
    return tuple(part for part in parts if part)


def _join(words: tuple[str, ...], _: str, option: str) -> str:
    return {"spaces": " ", "nothing": "", "commas": ", "}[option].join(words)


def _sort(words: tuple[str, ...], _: str, option: str) -> tuple[str, ...]:
    if option == "by length":
        return tuple(sorted(words, key=len))
    return tuple(sorted(words, reverse=option == "descending"))


def _pick(words: tuple[str, ...], _: str, option: str) -> str:
    chosen = {"first": 0, "last": -1}.get(option)
    if chosen is not None:
        return words[chosen]
    return (max if option == "longest" else min)(words, key=len)


def _options(_: str, question: str, __: str) -> tuple[str, ...]:
    return tuple(text for _, text in _OPTION.findall(question.split("Options:", 1)[1]))


def _letter(text: str, question: str, option: str) -> str:
    told = " ".join(text.lower().split())
    for letter, meant in _OPTION.findall(question.split("Options:", 1)[1]):
        known = meant.lower()
        if letter and (known == told if option == "equal" else known in told or told in known):
            return f"({letter})"
    raise ValueError("no option says so")


def _say(_: str, __: str, option: str) -> str:
    return option


def _truth(text: str, _: str, option: str) -> str:
    """Evaluate words of logic by hand: ``not`` before ``and`` before ``or``, or all from left to right."""
    tokens = re.findall(r"True|False|and|or|not|[()]", text)[:400]
    value, rest = _either(tokens, 0, flat=option == "left to right", depth=0)
    if rest != len(tokens):
        raise ValueError("it goes on after its end")
    return str(value)


def _either(tokens: list[str], at: int, *, flat: bool, depth: int) -> tuple[bool, int]:
    value, at = _both(tokens, at, flat=flat, depth=depth)
    while at < len(tokens) and (tokens[at] == "or" or (flat and tokens[at] == "and")):
        word = tokens[at]
        other, at = _both(tokens, at + 1, flat=flat, depth=depth)
        value = (value or other) if word == "or" else (value and other)
    return value, at


def _both(tokens: list[str], at: int, *, flat: bool, depth: int) -> tuple[bool, int]:
    value, at = _one(tokens, at, flat=flat, depth=depth)
    while not flat and at < len(tokens) and tokens[at] == "and":
        other, at = _one(tokens, at + 1, flat=flat, depth=depth)
        value = value and other
    return value, at


def _one(tokens: list[str], at: int, *, flat: bool, depth: int) -> tuple[bool, int]:
    turns = 0
    while tokens[at] == "not":
        turns, at = turns + 1, at + 1
    if tokens[at] == "(":
        if depth > 40:
            raise ValueError("too deep")
        value, at = _either(tokens, at + 1, flat=flat, depth=depth + 1)
        if tokens[at] != ")":
            raise ValueError("not closed")
    elif tokens[at] in ("True", "False"):
        value = tokens[at] == "True"
    else:
        raise ValueError("no value")
    return value ^ bool(turns % 2), at + 1


def _close(words: tuple[str, ...], _: str, option: str) -> tuple[str, ...]:
    open_: list[str] = []
    for word in words:
        if word in _CLOSES:
            open_.append(word)
        elif open_ and _CLOSES[open_[-1]] == word:
            open_.pop()
        else:
            raise ValueError("it closes what is not open")
    return tuple(_CLOSES[one] for one in (open_ if option == "outer first" else reversed(open_)))


def _claims(sentences: tuple[str, ...], _: str, option: str) -> str:
    """Follow who says that who lies; what a liar says is not so."""
    truth: dict[str, bool] = {}
    for one in sentences:
        said = re.search(r"(\w+) says (\w+) (tells the truth|lies)", one)
        plain = re.search(r"(\w+) (tells the truth|lies)\.", one)
        if said:
            claim = said[3] != "lies"
            truth[said[1]] = claim if option == "believe all" else truth[said[2]] is claim
        elif plain:
            truth[plain[1]] = plain[2] != "lies"
    asked = re.search(r"Does (\w+) tell the truth", sentences[-1])
    if asked is None:
        raise ValueError("nobody is asked about")
    return "Yes" if truth[asked[1]] else "No"


def _swaps(text: str, question: str, option: str) -> str:
    """Say what the person who is asked about holds after all exchanges."""
    things = [one.lower() for one in _options("", question, "")]
    names = list(dict.fromkeys(re.findall(r"[A-Z]\w+", text.split(".", 1)[0])))
    start = text.split(":", 1)[1].split(".\n", 1)[0].split(". ", 1)[0].lower()
    holds = {}
    for thing in things:
        before = start[: start.index(thing)]
        holds[max(names, key=lambda name, seen=before: seen.rfind(name.lower()))] = thing  # type: ignore[misc]
    pairs = re.findall(r"(\w+) and (\w+) (?:swap|switch|trade)", text)
    for one, other in reversed(pairs) if option == "backwards" else pairs:
        holds[one], holds[other] = holds[other], holds[one]
    last = text.split("Options:")[0].strip().rsplit(". ", 1)[-1]
    asked = [name for name in names if re.search(rf"\b{name}\b", last)]
    return holds[asked[0]]


def _gap(text: str, _: str, option: str) -> str:
    """Say which time between getting up and closing nobody accounts for."""
    spans = [
        (_hour(a, b), _hour(c, d)) for a, b, c, d in re.findall(r"from (\d+)(am|pm) to (\d+)(am|pm)", text)
    ]
    first = re.search(r"woke up at (\d+)(am|pm)", text)
    last = re.search(r"closed after (\d+)(am|pm)", text)
    if option == "whole day":
        if first is None or last is None:
            raise ValueError("no day is told")
        start, end = _hour(*first.groups()), _hour(*last.groups())
    else:
        start, end = min(spans)[0], max(spans)[1]
    for begin, until in sorted(spans):
        if begin > start:
            end = begin
            break
        start = max(start, until)
    return f"{_told(start)} to {_told(end)}"


def _hour(number: str, half: str) -> int:
    return int(number) % 12 + (12 if half == "pm" else 0)


def _told(hour: int) -> str:
    return f"{hour % 12 or 12}{'pm' if hour >= 12 else 'am'}"


def _corners(text: str, _: str, option: str) -> str:
    found = re.search(r'd="([^"]*)"', text)
    if found is None:
        raise ValueError("nothing is drawn")
    points = re.findall(r"[ML] ([\d.]+,[\d.]+)", found[1])
    return str(len(set(points)) if option == "points" else found[1].count("L"))


def _shape(text: str, _: str, option: str) -> str:
    number = int(text)
    return option if number == 4 else _SHAPES[number]


def _curved(_: str, question: str, option: str) -> str:
    arcs = len(re.findall(r"\bA ", question))
    if not arcs:
        raise ValueError("nothing is curved")
    return option if arcs == 1 else "circle"


TEXT_OPERATIONS: tuple[Operation, ...] = (
    Operation(name="after colon", takes=_TEXT, gives=_TEXT, function=_after_colon, options=("first", "last"), about="what stands behind a colon"),
    Operation(name="line", takes=_TEXT, gives=_TEXT, function=_line, options=("first", "last"), about="one line"),
    Operation(name="characters", takes=_TEXT, gives=_WORDS, function=_characters, about="every character"),
    Operation(name="split", takes=_TEXT, gives=_WORDS, function=_split, options=("spaces", "commas", "sentences"), about="parts of a text"),
    Operation(name="join", takes=_WORDS, gives=_TEXT, function=_join, options=("spaces", "nothing", "commas"), about="parts as one text"),
    Operation(name="sort", takes=_WORDS, gives=_WORDS, function=_sort, options=("ascending", "descending", "by length"), about="parts in order"),
    Operation(name="pick", takes=_WORDS, gives=_TEXT, function=_pick, options=("first", "last", "longest", "shortest"), about="one of the parts"),
    Operation(name="options", takes=_TEXT, gives=_WORDS, function=_options, about="the answers that the question offers"),
    Operation(name="letter", takes=_TEXT, gives=_TEXT, function=_letter, options=("equal", "alike"), about="the letter of the option that says this"),
    Operation(name="say", takes=_TEXT, gives=_TEXT, function=_say, options=("Yes", "No", "True", "False", "valid", "invalid"), about="always the same"),
    Operation(name="truth", takes=_TEXT, gives=_TEXT, function=_truth, options=("usual", "left to right"), about="the value of words of logic"),
    Operation(name="close", takes=_WORDS, gives=_WORDS, function=_close, options=("inner first", "outer first"), about="the brackets that are still open, closed"),
    Operation(name="claims", takes=_WORDS, gives=_TEXT, function=_claims, options=("liars lie", "believe all"), about="whether somebody tells the truth"),
    Operation(name="swaps", takes=_TEXT, gives=_TEXT, function=_swaps, options=("in order", "backwards"), about="who holds what after exchanges"),
    Operation(name="gap", takes=_TEXT, gives=_TEXT, function=_gap, options=("whole day", "told times"), about="the time that is free"),
    Operation(name="corners", takes=_TEXT, gives=_TEXT, function=_corners, options=("points", "lines"), about="how many corners a drawn path has"),
    Operation(name="shape", takes=_TEXT, gives=_TEXT, function=_shape, options=("rectangle", "kite", "trapezoid"), about="the shape with so many corners; the option is said of four"),
    Operation(name="curved", takes=_TEXT, gives=_TEXT, function=_curved, options=("sector", "circle"), about="the shape of a path with arcs"),
)  # fmt: skip
"""The operations on words."""
