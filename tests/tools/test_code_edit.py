"""Maps of code and edits by the syntax tree: nothing outside of what is named changes."""

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everystep
from everystep.core.errors import ToolError
from everystep.tools.code_edit import replace_lines, replace_unit, unit_text
from everystep.tools.code_map import file_map, lines_of, map_folder, map_source, schematic
from everystep.tools.mutations import OPERATORS, mutations

OURS = sorted((Path(everystep.__file__).parent / "tools").glob("*.py"))
LATIN = "# -*- coding: latin-1 -*-\nclass A:\n    # über\n    @property\n    def f(self):\n        return 'é'  # end\n\n    @f.setter\n    def f(self, x): pass\nx = 1\n".encode(
    "latin-1"
)
CRLF = b"def f():\r\n    '''a\r\nb'''\r\n    return 1\r\n\r\n@deco(\r\n  1)\r\ndef g(): return 2"
MIXED = b"\xef\xbb\xbfdef f():\n\treturn 1\r\nasync def g():\r    pass\x0c\nclass B(f):\n    x = 1; y = 2\n    def h(self): return '''\n  deep\n'''\nz = 2"
NESTED = b"try:\n    def f(): return 1\nexcept E:\n    def f(): return 2\nif a:\n  class C:\n    class D:\n      def m(self):\n         def inner(): pass\n         return inner\n"
SAMPLES = [LATIN, CRLF, MIXED, NESTED, *(path.read_bytes() for path in OURS if path.name != "__init__.py")]


@pytest.mark.parametrize("source", SAMPLES)
def test_replacing_a_unit_by_itself_changes_no_byte(source: bytes) -> None:
    file = map_source(source, "a.py")
    assert not file.error
    assert file.units
    for unit in file.units:
        assert replace_unit(source, unit.name, unit_text(source, unit.name)) == source


@pytest.mark.parametrize("source", SAMPLES)
def test_replacing_changes_nothing_outside_the_unit(source: bytes) -> None:
    file = map_source(source, "a.py")
    for unit in file.units:
        name = unit.name.rpartition(".")[2].partition("#")[0]
        new = (
            f"class {name}:\n    new = 1\n"
            if unit.kind == "class"
            else f"def {name}(new):\n    return '''\nkept\n  so'''\n"
        )
        made = replace_unit(source, unit.name, new)
        encoding = "latin-1" if source is LATIN else "utf-8"
        before, after = lines_of(source.decode(encoding)), lines_of(made.decode(encoding))
        tail = len(before) - unit.last
        assert after[: unit.first - 1] == before[: unit.first - 1]
        assert after[len(after) - tail :] == before[unit.last :]
        if unit.kind != "class":
            assert "kept" + ("\r\n" if source is CRLF else "\n") + "  so'''" in made.decode(encoding)


def test_decorators_stay_unless_new_ones_are_given_and_comments_above_stay() -> None:
    source = b"# above\n@one\n@two\ndef f():\n    return 1\n"
    assert (
        replace_unit(source, "f", "# new\ndef f():\n    return 2")
        == b"# above\n@one\n@two\ndef f():\n    return 2\n"
    )
    assert (
        replace_unit(source, "f", "@three\ndef f():\n    return 2")
        == b"# above\n@three\ndef f():\n    return 2\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("f", "def f(:", "does not parse"), ("f", "def g(): pass", "must define 'f'"), ("f", "", "must define 'f'"), ("F", "def F(): pass", "no 'F'"),
        ("f", "import os\ndef f(): pass", "nothing else"), ("f", "def f(): return 'é中'", "'iso-8859-1'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_one_error(name: str, text: str, told: str) -> None:
    with pytest.raises(ToolError, match=told):
        replace_unit(b"# coding: latin-1\ndef f():\n    return 1\n", name, text)


@given(st.text(alphabet="def fgclass:()\n \t#@'\"\\=1,", max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_taken_or_refused_and_what_is_taken_parses(text: str) -> None:
    source = b"class A:\n    @x\n    def f(self):\n        return 1\n\n    y = 2\n"
    for edit in (lambda: replace_unit(source, "A.f", text), lambda: replace_lines(source, 3, 4, text)):
        try:
            made = edit()
        except ToolError:
            continue
        ast.parse(made)
        assert made.startswith(b"class A:\n    @x\n" if "@" not in text else b"class A:\n")
        assert made.endswith(b"y = 2\n")


def test_lines_are_replaced_inserted_and_cut() -> None:
    source = b"a = 1\nb = 2\nc = 3"
    assert replace_lines(source, 2, 2, "b = 4") == b"a = 1\nb = 4\nc = 3"
    assert replace_lines(source, 2, 1, "x = 0\n") == b"a = 1\nx = 0\nb = 2\nc = 3"
    assert replace_lines(source, 2, 3, "") == b"a = 1\n"
    with pytest.raises(ToolError, match="lines of the file"):
        replace_lines(source, 4, 6, "x")


def test_a_map_lists_broken_files_and_outlines_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(
        '"""Good."""\n@d\nclass A(B):\n    """One.\n\n    Two."""\n    def f(self, x: int = 1) -> str: ...\n'
    )
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "worse.py").write_bytes(b"x = '\xff'\n\x00")
    code = map_folder(tmp_path)
    assert set(code.broken) == {"bad.py", "worse.py"}
    assert "good.py: A" in file_map(code)
    assert (
        schematic(code.files["good.py"])
        == "# good.py\n@d\nclass A(B)  # One.\n    def f(self, x: int=1) -> str"
    )
    unit = code.files["good.py"].units[1]
    assert (unit.id, unit.kind, unit.returns, unit.first, unit.last) == (
        "good.py::A.f",
        "method",
        "str",
        7,
        7,
    )
    assert code.files["good.py"].at(5) == code.files["good.py"].units[0]


def test_every_operator_makes_sound_mutations_and_most_can_be_undone() -> None:
    text = (
        "def f(a, b, items):\n    if a < b and not items:\n        return g(a, b)\n    else:\n        items.append(a + 1)\n"
        "    x = items[a - 1:b]\n    x += 1\n    y = 'one' if a == 0 else 'two'\n    return items.count(x) * y if b is not None else True\n"
    )
    made = mutations(text)
    assert {one.operator for one in made} == set(OPERATORS)
    for one in made:
        assert one.sound(text), one
        lost = one.operator in ("branch", "statement", "return")
        back = {ast.dump(ast.parse(other.of(one.of(text)))) for other in mutations(one.of(text))}
        if not lost and one.operator in ("compare", "arguments", "condition"):
            assert ast.dump(ast.parse(text)) in back, one
