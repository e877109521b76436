"""Operations for procedures: a question's fields, and what one walk over them does to strings, lists and numbers.

The options of an operation are ways in which its description can be read. Which one a family of questions means is for its structure to find out.
"""

from __future__ import annotations

import re

from everystep.environments.procedures.count import cumulated, letters_and_digits
from everystep.environments.procedures.edit import marked, push_pop, turned
from everystep.environments.procedures.lists import agreed, parts, runs, split_part
from everystep.environments.procedures.rules import composed
from everystep.evolve.structures import Field, Operation, Type

_TEXT, _WORDS, _FIELDS = Type.TEXT, Type.WORDS, Type.FIELDS
_LABEL = re.compile(r"^([A-Za-z][A-Za-z0-9 ]{0,30}?)\s*[:=]\s*(.*)$")
_MOST = 2000

Fields = tuple[Field, ...]


def _question(text: str, _: str, __: str) -> str:
    return text.split("[Question]", 1)[1]


def _fields(text: str, _: str, __: str) -> Fields:
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label:
            found.append((label[1], [label[2]]))
        elif found:
            found[-1][1].append(line)
    if not found:
        raise ValueError("there is no field")
    return tuple(Field(name=name, rows=_rows("\n".join(lines))) for name, lines in found[:20])


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    told = text.strip()
    groups = re.findall(r"(?<!\w)\(([^()]*)\)", told)
    if groups:
        return tuple(tuple(cell.strip(" '\"") for cell in one.split(",")) for one in groups)
    if "->" in told:
        return tuple(
            tuple(re.split(r"\s*(?:,|->)\s*", line.strip())) for line in told.splitlines() if line.strip()
        )
    bare = [re.sub(r"^\s*\d+\.\s+", "", part) for part in re.split(r"[,\n]", told.strip("[]"))]
    rows = (tuple(cell.strip("'\"") for cell in part.split()) for part in bare)
    return tuple(row for row in rows if row)


def _cells(field: Field) -> list[str]:
    return [cell for row in field.rows for cell in row][:_MOST]


def _single(field: Field) -> str:
    cells = _cells(field)
    return cells[0] if cells else ""


def _place(cell: str, option: str) -> int:
    place = int(cell) - (option == "from 1")
    if place < 0:
        raise ValueError("before the beginning")
    return place


def _field(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    return tuple(_cells(fields[0 if option == "first" else -1]))


def _append_parts(fields: Fields, _: str, option: str) -> str:
    table, made = _cells(fields[0]), ""
    for which, start, count in fields[1].rows:
        begin = _place(start, option)
        made += table[_place(which, option)][begin : begin + int(count)]
    return made


def _append(fields: Fields, _: str, option: str) -> str:
    table = _cells(fields[0])
    return "".join(table[_place(cell, option)] for cell in _cells(fields[1]))


def _products(fields: Fields, _: str, option: str) -> str:
    total = 0
    for one in _cells(fields[0]):
        letters, number = letters_and_digits(one)
        total += letters * (number if option == "one number" else sum(map(int, str(number))))
    return str(total)


def _counts(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    wanted = _cells(fields[1])
    if option == "apart":
        return tuple(str(sum(one.count(part) for part in wanted)) for one in _cells(fields[0]))
    return tuple(
        str(sum(one.startswith(part, at) for part in wanted for at in range(len(one))))
        for one in _cells(fields[0])
    )


def _substitute(fields: Fields, _: str, option: str) -> str:
    pairs = [(row[0], row[1]) for row in fields[0].rows]
    table = {b: a for a, b in pairs} if option == "backwards" else dict(pairs)
    return "".join(table.get(one, one) for one in _single(fields[1]))


def _runs(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    found = runs(_single(fields[0]))
    return tuple(
        f"{one}_{count}" if option == "character first" else f"{count}_{one}" for one, count in found
    )


def _cut(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    places = {int(cell) + (option == "behind") for cell in _cells(fields[1])}
    return tuple(parts(_single(fields[0]), places))


def _cut_parts(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    now = [_single(fields[0])]
    for which, place in fields[1].rows:
        now = split_part(now, _place(which, option), int(place))
    return tuple(now)


def _rewrite(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    rules = {(row[0], row[1]): row[2] for row in fields[0].rows}
    state = _cells(fields[1])
    states = [state, *composed(state, rules, side=-1 if option == "from the right" else 0)]
    return tuple(states[-1])


def _alternate(fields: Fields, _: str, option: str) -> str:
    one, other = _cells(fields[0]), _cells(fields[1])
    count = min(int(_single(fields[2])), _MOST)
    pairs = ((one[n % len(one)], other[n % len(other)]) for n in range(count)) if one and other else ()
    return "".join(a + b if option == "first first" else b + a for a, b in pairs)


def _prefixes(fields: Fields, _: str, option: str) -> tuple[str, ...]:
    target, found = _single(fields[0]), []
    for one in _cells(fields[1]):
        found.append(agreed(target, one))
        if one == target and option == "stop at the match":
            break
    return tuple(found)


def _repeat(fields: Fields, _: str, option: str) -> str:
    made = ""
    for cell in _cells(fields[0]):
        one, count = cell.split("x", 1) if option == "character first" else reversed(cell.split("x", 1))
        made += one * min(int(count), _MOST)
    return made


def _push_pop(fields: Fields, _: str, option: str) -> str:
    text = _single(fields[0])
    for action in _cells(fields[1]):
        text = push_pop(text, action, mirrored=option == "mirrored")
    return text


def _rotate(fields: Fields, _: str, option: str) -> str:
    text = _single(fields[0])
    for start, end in fields[1].rows:
        text = turned(text, int(start), int(end), 1 if option == "right" else -1)
    return text


def _delete(fields: Fields, _: str, option: str) -> str:
    text = _single(fields[0])
    for one in _cells(fields[1]):
        text = text.replace(one, "") if option == "all" else text.replace(one, "", 1)
    return text


def _cumulate(fields: Fields, _: str, option: str) -> str:
    total = int(_single(fields[0]))
    rows = fields[1].rows
    for word, number in (
        sorted(rows, key=lambda row: row[0] != "Multiply") if option == "products first" else rows
    ):
        total = cumulated(total, (word, int(number)))
        if abs(total) > 10**60:
            raise ValueError("too large")
    return str(total)


def _move(fields: Fields, _: str, option: str) -> str:
    array = _single(fields[0])
    place = array.index("x")
    for way, count in fields[1].rows:
        place += int(count) if way == "right" else -int(count)
        place = place % len(array) if option == "around" else min(max(place, 0), len(array) - 1)
    return marked(place, len(array))


def _walk(fields: Fields, _: str, option: str) -> str:
    text, (letter, count) = _single(fields[0]), _cells(fields[1])
    return text[(text.index(letter) + (int(count) if option == "right" else -int(count))) % len(text)]


_BASES = ("from 0", "from 1")
PROCEDURE_OPERATIONS: tuple[Operation, ...] = (
    Operation(name="question", takes=_TEXT, gives=_TEXT, function=_question, about="what stands behind [Question]"),
    Operation(name="fields", takes=_TEXT, gives=_FIELDS, function=_fields, about="the named parts of the text"),
    Operation(name="field", takes=_FIELDS, gives=_WORDS, function=_field, options=("first", "last"), about="the cells of one part"),
    Operation(name="append parts", takes=_FIELDS, gives=_TEXT, function=_append_parts, options=_BASES, about="substrings by string, start and length, one after the other"),
    Operation(name="append", takes=_FIELDS, gives=_TEXT, function=_append, options=_BASES, about="strings by index, one after the other"),
    Operation(name="products", takes=_FIELDS, gives=_TEXT, function=_products, options=("one number", "digit by digit"), about="letters times digits of each string, added up"),
    Operation(name="counts", takes=_FIELDS, gives=_WORDS, function=_counts, options=("overlapping", "apart"), about="how often the substrings occur in each string"),
    Operation(name="substitute", takes=_FIELDS, gives=_TEXT, function=_substitute, options=("forwards", "backwards"), about="each character replaced by its pair"),
    Operation(name="runs", takes=_FIELDS, gives=_WORDS, function=_runs, options=("character first", "count first"), about="runs of one character and their lengths"),
    Operation(name="cut", takes=_FIELDS, gives=_WORDS, function=_cut, options=("before", "behind"), about="a string cut at places"),
    Operation(name="cut parts", takes=_FIELDS, gives=_WORDS, function=_cut_parts, options=_BASES, about="a part cut at a place, again and again"),
    Operation(name="rewrite", takes=_FIELDS, gives=_WORDS, function=_rewrite, options=("from the right", "from the left"), about="neighbours replaced by rules until none applies"),
    Operation(name="alternate", takes=_FIELDS, gives=_TEXT, function=_alternate, options=("first first", "second first"), about="elements of two lists in turn, around the end"),
    Operation(name="prefixes", takes=_FIELDS, gives=_WORDS, function=_prefixes, options=("stop at the match", "all"), about="how far each candidate agrees with the target"),
    Operation(name="repeat", takes=_FIELDS, gives=_TEXT, function=_repeat, options=("character first", "count first"), about="AxB as B times A"),
    Operation(name="push pop", takes=_FIELDS, gives=_TEXT, function=_push_pop, options=("as told", "mirrored"), about="characters put to and taken from both ends"),
    Operation(name="rotate", takes=_FIELDS, gives=_TEXT, function=_rotate, options=("right", "left"), about="parts of a string turned by one"),
    Operation(name="delete", takes=_FIELDS, gives=_TEXT, function=_delete, options=("one", "all"), about="letters taken out in turn"),
    Operation(name="cumulate", takes=_FIELDS, gives=_TEXT, function=_cumulate, options=("in order", "products first"), about="numbers added and multiplied"),
    Operation(name="move", takes=_FIELDS, gives=_TEXT, function=_move, options=("around", "stop at the end"), about="a mark moved left and right"),
    Operation(name="walk", takes=_FIELDS, gives=_TEXT, function=_walk, options=("right", "left"), about="the letter so many places from another"),
)  # fmt: skip
"""The operations of procedures."""
