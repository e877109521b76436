"""Pruning pages: each pass alone, what must not be lost, and trees that are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everystep.core.errors import WorldError
from everystep.tools import axprune
from everystep.tools.axprune import INTERACTIVE, PASSES, acted_on, page_text, prune
from everystep.tools.axtree import DEEPEST, MOST_NODES, ROOT, AXNode, nodes_of, numbered, raw_text, tree_of

T = "StaticText"


def node(role: str, name: str = "", *children: AXNode, **more: Any) -> AXNode:
    return AXNode(role=role, name=name, children=children, **more)


def page(*children: AXNode) -> AXNode:
    return numbered(node(ROOT, "Page", *children))


def shown(made: AXNode) -> list[str]:
    return page_text(made).split("\n")[1:]


# --- each pass -----------------------------------------------------------------------------------


def test_characters_are_cleaned_everywhere() -> None:
    made = axprune.strip_characters(
        page(node("link", "\ue80e Pens\u200b \n and  ink", value="\u2022 x", props=(("k", "a\x00b"),)))
    )
    (link,) = made.children
    assert (link.name, link.value, link.props) == ("Pens and ink", "x", (("k", "a b"),))


def test_an_equal_link_goes_and_another_address_or_place_in_the_page_stays() -> None:
    def link(name: str, url: str) -> AXNode:
        return node("link", name, props=(("url", url),))

    made = axprune.drop_duplicates(
        page(link("A", "x/1"), link("A", "x/1"), link("A", "x/2"), link("A", "x#"), link("A", "x#"))
    )
    assert [one.id for one in made.children] == [2, 4, 5, 6]


def test_noisy_properties_go_and_states_stay() -> None:
    props = (("focusable", "true"), ("level", "2"), ("url", "u"), ("checked", "false"), ("required", "false"), ("disabled", "true"))  # fmt: skip
    (made,) = axprune.drop_properties(page(node("checkbox", "x", props=props))).children
    assert made.props == (("checked", "false"), ("disabled", "true"))


def test_text_that_is_said_already_goes() -> None:
    made = axprune.drop_redundant_text(
        page(
            node("link", "Red pens", node(T, "pens")),
            node("link", "Red pens", node(T, "pen")),
            node(
                "generic", "", node(T, "Email"), node("textbox", "Email", node("generic", "", node(T, "a@b")))
            ),
        )
    )
    assert [[child.name for child in one.children] for one in made.children] == [[], ["pen"], ["Email"]]
    assert made.children[2].children[0].children == ()


def test_images_go_where_they_say_nothing_new() -> None:
    made = axprune.drop_images(page(node("image"), node("image", "Map"), node("link", "Cat"), node("image", "Cat")))  # fmt: skip
    assert [one.name for one in made.children] == ["Map", "Cat"]
    assert made.children[1].role == "link"


def test_lone_text_becomes_the_name_of_what_holds_it() -> None:
    (made,) = axprune.merge_text(page(node("cell", "", node(T, "3"), node(T, "kg")))).children
    assert (made.name, made.children) == ("3 kg", ())


def test_wrappers_give_way_and_clickable_ones_stay() -> None:
    inner = (node("link", "a"), node("link", "b"))
    made = axprune.lift_wrappers(
        page(node("generic", "", *inner), node("generic", "", *inner, props=(("clickable", "true"),)))
    )
    assert [one.role for one in made.children] == ["link", "link", "generic"]


def test_a_name_that_the_parts_say_is_cleared() -> None:
    made = axprune.drop_echoed_names(page(node("cell", "Pen Buy", node(T, "Pen"), node("link", "Buy"))))
    assert made.children[0].name == ""


def test_options_tabs_and_menus_take_one_line() -> None:
    popup = node("MenuListPopup", "", node("option", "S"), node("option", "M"))
    made = prune(
        page(
            node("combobox", "Size", popup, value="M", props=(("expanded", "false"),)),
            node("tablist", "", node("tab", "One", props=(("selected", "true"),)), node("tab", "Two")),
        )
    )
    assert shown(made) == [" combobox [2] 'Size' value: 'M' options: S | M", " tablist: [7] 'One' selected | [8] 'Two'"]  # fmt: skip


def test_a_description_list_takes_one_line_and_keeps_its_links() -> None:
    made = prune(
        page(
            node(
                "DescriptionList",
                "",
                node("term", "", node(T, "Weight")),
                node("definition", "", node(T, "3 kg")),
                node("term", "", node(T, "Maker")),
                node("definition", "", node("link", "Esker")),
            )
        )
    )
    assert shown(made) == [" DescriptionList: Weight: 3 kg; Maker: link [10] 'Esker'"]


def test_tables_are_markdown() -> None:
    head = node("row", "", node("columnheader", "Name"), node("columnheader", "Price"))
    row = node("row", "", node("cell", "Pen", node("link", "Pen")), node("cell", "$3"))
    empty = node("row", "", node("cell"), node("cell", "$4"))
    assert shown(prune(page(node("table", "", head, row, empty)))) == [
        " table", "  | Name | Price |", "  | --- | --- |", "  | link [8] 'Pen' | $3 |", "  |  | $4 |",
    ]  # fmt: skip


def test_a_heading_is_shown_once_and_what_can_be_done_in_it_stays() -> None:
    made = prune(page(node("heading", "Pens"), node("heading", "Pens", node("link", "Pens"))))
    assert shown(made) == [" heading 'Pens'", " link [4] 'Pens'"]


def test_numbers_are_shown_where_something_can_be_done() -> None:
    listens = (("clickable", "true"),)
    top = page(node("heading", "H"), node("button", "B"), node("generic", "G", props=listens))
    assert [one.id for one in nodes_of(prune(top)) if one.id] == [3, 4]
    assert [one.id for one in nodes_of(prune(top, clickable=False)) if one.id] == [3]


def test_lines_are_bounded_and_the_rest_is_counted() -> None:
    top = prune(page(*(node("button", f"b{k}") for k in range(1200))))
    lines = page_text(top).split("\n")
    assert len(lines) == 1001
    assert lines[-1] == "(201 more lines are not shown)"


# --- properties ----------------------------------------------------------------------------------

ROLES = [
    "generic", "paragraph", "heading", "list", "listitem", "link", "button", "textbox", "checkbox", "combobox", "option", "table", "row", "cell", "columnheader", "image", T,
    "DescriptionList", "term", "definition", "navigation", "menu", "menuitem", "tablist", "tab", "LabelText", "MenuListPopup", "form", "article", "ListMarker", "figure", ROOT,
]  # fmt: skip
NAMES = st.sampled_from(["", " ", "A", "B", "A B", "Pens", "\ue80e", "Pens\u200b"])
PROPS = st.lists(
    st.sampled_from([("focusable", "true"), ("clickable", "true"), ("url", "u/1"), ("url", "u#"), ("checked", "false"), ("level", "1"), ("description", "A")]),
    max_size=3, unique_by=lambda one: one[0],
).map(tuple)  # fmt: skip


def trees() -> st.SearchStrategy[AXNode]:
    leaf = st.builds(AXNode, role=st.sampled_from(ROLES), name=NAMES, value=st.sampled_from(["", "v"]), props=PROPS)  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            AXNode, role=st.sampled_from(ROLES), name=NAMES, props=PROPS, children=st.lists(inner, max_size=5).map(tuple)
        ),
        max_leaves=25,
    ).map(lambda one: numbered(node(ROOT, "Page", one)))  # fmt: skip


def needed(top: AXNode) -> set[int]:
    """The numbers that must survive: options of drop-down lists are chosen through their list, and equal links count once."""
    options = {one.id for popup in nodes_of(top) if popup.role == "MenuListPopup" for one in nodes_of(popup) if one.role == "option"}  # fmt: skip
    seen: set[tuple[str, str]] = set()
    found = set()
    for one in nodes_of(axprune.strip_characters(top)):
        if not acted_on(one) or one.id in options:
            continue
        url = one.prop("url")
        if one.role == "link" and url and "#" not in url:
            if (one.name, url) in seen and not any(acted_on(k) for k in nodes_of(one) if k is not one):
                continue
            seen.add((one.name, url))
        found.add(one.id)
    return found


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_what_can_be_acted_on_survives_with_its_number_and_its_role(top: AXNode) -> None:
    was = {one.id: one for one in nodes_of(top)}
    made = {one.id: one for one in nodes_of(prune(top)) if one.id}
    assert needed(top) <= set(made)
    for number, one in made.items():
        assert one.role == was[number].role
        assert one.dom == was[number].dom
    told = page_text(prune(top))
    assert all(f"[{number}]" in told for number in made)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_pruning_twice_is_pruning_once_and_never_longer(top: AXNode) -> None:
    once = prune(top)
    assert prune(once) == once
    assert sum(1 for _ in nodes_of(once)) <= 2 * sum(1 for _ in nodes_of(top))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
def test_each_pass_alone_keeps_what_must_be_kept(top: AXNode) -> None:
    must = needed(top)
    for name, one in PASSES:
        assert must <= {kept.id for kept in nodes_of(one(top)) if acted_on(kept)}, name


# --- trees from the browser ------------------------------------------------------------------------


def told(name: str, role: str, *children: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {
        "nodeId": name,
        "role": {"value": role},
        "name": {"value": text},
        "childIds": list(children),
        **more,
    }


def test_ignored_nodes_give_way_and_text_boxes_go() -> None:
    top = tree_of(
        [
            told("1", ROOT, "2", "gone", text="T"),
            told("2", "none", "3", ignored=True),
            told("3", T, "4", text="x"),
            told("4", "InlineTextBox", text="x"),
        ]
    )
    assert raw_text(top) == f"[1] {ROOT} 'T'\n\t[2] {T} 'x'"


def test_clickable_elements_stay_although_they_are_ignored() -> None:
    top = tree_of([told("1", ROOT, "2"), told("2", "none", ignored=True, backendDOMNodeId=7)], frozenset({7}))
    assert [(one.role, one.dom, acted_on(one)) for one in nodes_of(top)] == [(ROOT, 0, False), ("generic", 7, True)]  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "what"),
    [
        ([], "without nodes"),
        ([{"role": {}}], "without a 'nodeId'"),
        ([None], "without a 'nodeId'"),
        ([told("1", ROOT, "2"), told("2", "x", "1")], "no root"),
        ([told("1", ROOT, "2"), told("2", "x", "3"), told("3", "x", "2")], "held twice"),
        ([told("1", ROOT, "2", "3"), told("2", "x", "4"), told("3", "x", "4"), told("4", "x")], "held twice"),
        ([told(str(k), "x", str(k + 1)) for k in range(DEEPEST + 5)], "deeper than"),
    ],
)
def test_what_is_no_tree_is_refused(nodes: Sequence[Any], what: str) -> None:
    with pytest.raises(WorldError, match=what):
        tree_of(nodes)


def test_what_is_listed_twice_counts_once_and_what_is_left_out_goes_with_all_in_it() -> None:
    nodes = [told("1", ROOT, "2", "4"), told("2", "none", "3", ignored=True, backendDOMNodeId=5), told("3", "button", text="x"), told("4", "button", text="y"), told("4", "link")]  # fmt: skip
    assert [one.name for one in tree_of(nodes).children] == ["x", "y"]
    assert [one.name for one in tree_of(nodes, without=frozenset({5})).children] == ["y"]


def test_a_huge_page_is_cut_and_the_rest_counted() -> None:
    names = [str(k) for k in range(2, MOST_NODES + 100)]
    top = tree_of([told("1", ROOT, *names), *(told(name, "button", text=name) for name in names)])
    assert sum(1 for _ in nodes_of(top)) == MOST_NODES + 1
    assert top.children[-1].name == "(99 more nodes are not shown)"


def test_a_tree_as_deep_as_is_allowed_can_be_pruned() -> None:
    top = tree_of([told(str(k), "navigation", str(k + 1)) for k in range(DEEPEST)] + [told(str(DEEPEST), "button", text="b")])  # fmt: skip
    assert f"[{DEEPEST + 1}]" in page_text(prune(top))


def test_roles_that_are_acted_on_need_a_number() -> None:
    for role in INTERACTIVE:
        assert acted_on(AXNode(role=role, id=1))
        assert not acted_on(replace(AXNode(role=role), id=0))
