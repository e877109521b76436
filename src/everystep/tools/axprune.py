"""A page's accessibility tree made short for a model to read, without losing what can be acted on.

The passes are those that AgentOccam (Yang et al. 2024, arXiv 2410.13825, section 4) and its repository name: odd characters, noisy properties, redundant text and images, lone text,
menus, options and description lists in one line, tables as Markdown, repeated headings, numbers only where something can be done, at most 1000 lines. How each is done is ours. A pass
is a function from tree to tree; ``prune`` repeats them until nothing changes, so that pruning twice is pruning once.

What must not be lost: every node that can be acted on keeps its number, unless it is a link with the name and the address of an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from everystep.tools.axtree import ROOT, TEXT, AXNode, nodes_of

INTERACTIVE = frozenset({
    "button", "link", "textbox", "searchbox", "checkbox", "radio", "combobox", "listbox", "option", "slider", "spinbutton", "switch", "tab", "treeitem",
    "menuitem", "menuitemcheckbox", "menuitemradio", "Date", "DateTime", "InputTime", "ColorWell", "PopUpButton", "DisclosureTriangle",
})  # fmt: skip
"""The roles that something can be done with. A node of another role counts too where the browser says that clicks on it are listened to (property ``clickable``)."""
NOISY = frozenset({"focusable", "editable", "readonly", "level", "settable", "multiline", "invalid"})
"""The seven properties that say nothing an agent needs."""
NOISY_NOW = frozenset({"url", "labelledby", "describedby", "details", "controls", "owns", "activedescendant", "flowto", "errormessage", "hasPopup", "autocomplete",
                       "busy", "live", "atomic", "relevant", "orientation", "hidden", "hiddenRoot", "roledescription", "keyshortcuts", "modal", "root", "actions", "multiselectable"})  # fmt: skip
"""Properties of the same sort that browsers have come to give since."""
MOST_LINES = 1000
_ROUNDS = 12
_SHOWN_FALSE = ("checked", "pressed", "expanded")
_WRAPPERS = frozenset({"generic", "LabelText", "Section", "paragraph", "rowgroup", "LayoutTable", "LayoutTableRow", "LayoutTableCell", "group", "Legend", "Figcaption", "figure"})  # fmt: skip
_HOLDERS = frozenset({"listitem", "form", "article", "list", "region"})
_INLINE = frozenset({"generic", "paragraph", "emphasis", "strong", "mark", "time", "code", "Abbr", "superscript", "subscript", "LabelText", "Pre", "blockquote", "insertion", "deletion", "term", "definition", "Legend", "Figcaption"})  # fmt: skip
_IMAGES = frozenset({"image", "img", "SvgRoot", "Canvas", "graphics-document", "graphics-symbol", "graphics-object", "figure"})  # fmt: skip
_FIELDS = frozenset({"textbox", "searchbox", "spinbutton", "Date", "DateTime", "InputTime", "ColorWell"})
_OF: Mapping[str, str] = {"menu": "menuitem", "menubar": "menuitem", "listbox": "option", "tablist": "tab", "radiogroup": "radio"}  # fmt: skip
_ODD = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\uffff\ue000-\uf8ff\ud800-\udfff\u2022\u25a0-\u25ff\u00a0\s\U000f0000-\U0010ffff]+"
)

Pass = Callable[[AXNode], AXNode]


def acted_on(node: AXNode) -> bool:
    """Say whether something can be done with a node and it has a number to do it by."""
    if not node.id or node.role in (ROOT, "LabelText"):  # a click on a label is one on its control
        return False
    return node.role in INTERACTIVE or node.prop("clickable") == "true"


def candidates(top: AXNode) -> list[int]:
    """Return the numbers of all that can be acted on by role, in document order."""
    return [one.id for one in nodes_of(by_role(top)) if acted_on(one)]


def prune(top: AXNode, *, clickable: bool = True) -> AXNode:
    """Return the short tree. Without ``clickable`` numbers are given by role alone, as published."""
    now = top if clickable else by_role(top)
    for _ in range(_ROUNDS):
        before = now
        for _, one in PASSES:
            now = one(now)
        if now == before:
            break
    return now


def by_role(top: AXNode) -> AXNode:
    """Forget what the browser says about listeners for clicks."""
    return _mapped(
        top, lambda node: (replace(node, props=tuple([one for one in node.props if one[0] != "clickable"])),)
    )


# --- the passes ---------------------------------------------------------------------------------


def strip_characters(top: AXNode) -> AXNode:
    """Replace control, private and zero-width characters and runs of white space by one space."""

    def clean(text: str) -> str:
        return _ODD.sub(" ", text).strip()

    return _mapped(
        top,
        lambda node: (
            replace(
                node, name=clean(node.name), value=clean(node.value), props=tuple([(key, clean(value)) for key, value in node.props])
            ),
        ),
    )  # fmt: skip


def drop_duplicates(top: AXNode) -> AXNode:
    """Drop links with the name and the address of an earlier one; an address within the page may mean anything, so those stay."""
    seen: set[tuple[str, str]] = set()
    gone: set[int] = set()
    for node in nodes_of(top):
        url = node.prop("url")
        if node.role != "link" or not url or "#" in url or url.startswith("javascript:") or not node.id:
            continue
        if (node.name, url) in seen and not any(acted_on(one) for one in nodes_of(node) if one is not node):
            gone.add(node.id)
        seen.add((node.name, url))
    return _mapped(top, lambda node: () if node.role == "link" and node.id in gone else (node,))


def drop_properties(top: AXNode) -> AXNode:
    """Drop the noisy properties, and those that say no or nothing."""

    def told(key: str, value: str) -> bool:
        return (
            key not in NOISY
            and key not in NOISY_NOW
            and (value not in ("", "false") or key in _SHOWN_FALSE)
            and not (key == "description" and not value)
        )

    def clean(node: AXNode) -> tuple[AXNode, ...]:
        props = tuple([one for one in node.props if told(*one)])
        props = tuple([one for one in props if one != ("description", node.name)])
        return (replace(node, props=props),)

    return _mapped(top, clean)


def drop_redundant_text(top: AXNode) -> AXNode:
    """Drop text that its parent, or a control beside it, says already, list bullets, and what a field holds where its value says it."""

    def thin(node: AXNode) -> tuple[AXNode, ...]:
        kept = []
        acts = acted_on(node)
        beside = {one.name for one in node.children if acted_on(one)}
        for one in node.children:
            plain = not one.children and not acted_on(one) and not one.value and not one.props
            said = node.role != ROOT and _says(node.name, one.name)
            if one.role == "ListMarker" and not _acts_within(one):
                continue
            if plain and one.role == TEXT and (not one.name or said or one.name in beside):
                continue
            if plain and acts and said and one.role not in INTERACTIVE:
                continue
            if node.role in _FIELDS and acts and not _acts_within(one) and (one.role in (TEXT, "generic")):
                continue
            kept.append(one)
        return (replace(node, children=tuple(kept)),) if len(kept) != len(node.children) else (node,)

    return _mapped(top, thin)


def drop_echoed_names(top: AXNode) -> AXNode:
    """Clear the name of a node that nothing can be done with, where its parts say all of it and one of them can be acted on."""

    def clear(node: AXNode) -> tuple[AXNode, ...]:
        if not node.name or acted_on(node) or node.role == ROOT or not any(map(_acts_within, node.children)):
            return (node,)
        said = {word for child in node.children for one in nodes_of(child) for word in one.name.split()}
        return (replace(node, name=""),) if said >= set(node.name.split()) else (node,)

    return _mapped(top, clear)


def drop_images(top: AXNode) -> AXNode:
    """Drop images without a name, or whose name stands beside or above them."""

    def thin(node: AXNode) -> tuple[AXNode, ...]:
        kept: list[AXNode] = []
        for at, one in enumerate(node.children):
            if one.role not in _IMAGES or acted_on(one):
                kept.append(one)
                continue
            others = [node.children[k].name for k in range(len(node.children)) if k != at]
            if not one.name or _says(node.name, one.name) or any(_says(name, one.name) for name in others):
                kept += one.children
            else:
                kept.append(one)
        return (replace(node, children=tuple(kept)),)

    return _mapped(top, thin)


def merge_text(top: AXNode) -> AXNode:
    """Give a nameless node the text that is all it holds."""

    def merge(node: AXNode) -> tuple[AXNode, ...]:
        plain = all(one.role == TEXT and not one.children and not acted_on(one) and not one.value and not one.props for one in node.children)  # fmt: skip
        if node.role == ROOT or node.name or not node.children or not plain or (node.role == "list" and len(node.children) > 1):  # fmt: skip
            return (node,)
        name = " ".join(one.name for one in node.children if one.name)
        return (replace(node, name=name, children=()),)

    return _mapped(top, merge)


def lift_wrappers(top: AXNode) -> AXNode:
    """Put the children of nameless wrappers in their place, make inline parts plain text, and drop what is empty."""

    def lift(node: AXNode) -> tuple[AXNode, ...]:
        if node.role == ROOT or acted_on(node) or node.fold:
            return (node,)
        empty = not node.name and not node.value and not node.children and not node.props
        if empty and node.role not in ("cell", "gridcell", "columnheader", "rowheader"):
            return ()
        if node.role in _WRAPPERS and not node.name and not node.value:
            return node.children
        if node.role in _INLINE and not node.children and not node.value and not node.props and node.role not in ("term", "definition"):  # fmt: skip
            return (replace(node, role=TEXT),)
        if node.role in _HOLDERS and not node.name and len(node.children) == 1 and (node.role != "listitem" or node.children[0].role != TEXT):  # fmt: skip
            return node.children
        return (node,)

    return _mapped(top, lift)


def fold_menus(top: AXNode) -> AXNode:
    """Put menus, lists of options, tabs and radio groups in one line; the options of a drop-down list become a property of it."""

    def fold(node: AXNode) -> tuple[AXNode, ...]:
        popup = [one for one in node.children if one.role == "MenuListPopup"]
        if popup and not any(acted_on(one) and one.role != "option" for one in nodes_of(popup[0])):
            options = " | ".join(one.name for one in nodes_of(popup[0]) if one.role == "option")
            rest = tuple([one for one in node.children if one is not popup[0]])
            props = (*[one for one in node.props if one[0] != "expanded"], ("options", options))
            return (replace(node, children=rest, props=props),)
        leaves = len(node.children) > 0 and not any(one.children for one in node.children)
        return (replace(node, fold=" | "),) if node.role in _OF and leaves and not node.fold else (node,)

    return _mapped(top, fold)


def fold_descriptions(top: AXNode) -> AXNode:
    """Put a description list in one line: ``term: definition; term: definition``."""

    def fold(node: AXNode) -> tuple[AXNode, ...]:
        if node.role != "DescriptionList" or node.fold:
            return (node,)
        pairs: list[list[AXNode]] = []
        for one in node.children:
            if one.role == "term" or not pairs:
                pairs.append([])
            pairs[-1].append(one)
        made = tuple([AXNode(role="pair", fold=": ", children=tuple(some)) for some in pairs])
        return (replace(node, children=made, fold="; "),) if made else (node,)

    return _mapped(top, fold)


def tables_to_markdown(top: AXNode) -> AXNode:
    """Put every row of a table in one line."""
    return _mapped(
        top, lambda node: (replace(node, fold=" | "),) if node.role == "row" and not node.fold and node.children else (node,)
    )  # fmt: skip


def drop_repeated_headings(top: AXNode) -> AXNode:
    """Drop headings that were there before; what can be acted on in them stays."""
    seen: set[str] = set()

    def walk(node: AXNode) -> tuple[AXNode, ...]:
        again = False
        if node.role == "heading" and not acted_on(node):
            told = node.name or " ".join(one.name for one in nodes_of(node) if one.name)
            again = told in seen
            seen.add(told)
        inner = tuple([made for child in node.children for made in walk(child)])
        if again and node is not top:
            return tuple([one for one in inner if _acts_within(one)])
        if node.role == "heading" and not node.name and len(inner) == 1 and not inner[0].children and not node.fold:  # fmt: skip
            return (replace(node, children=inner, fold=" "),)
        return (replace(node, children=inner),)

    return walk(top)[0]


def show_ids(top: AXNode) -> AXNode:
    """Leave numbers only where something can be done."""
    return _mapped(top, lambda node: (node,) if acted_on(node) or not node.id else (replace(node, id=0),))


PASSES: Sequence[tuple[str, Pass]] = (
    ("characters", strip_characters), ("duplicate links", drop_duplicates), ("properties", drop_properties), ("images", drop_images),
    ("redundant text", drop_redundant_text), ("lone text", merge_text), ("wrappers", lift_wrappers), ("echoed names", drop_echoed_names),
    ("menus and options", fold_menus), ("description lists", fold_descriptions), ("tables", tables_to_markdown), ("headings", drop_repeated_headings),
    ("numbers", show_ids),
)  # fmt: skip
"""The passes with their names, in order; the thirteenth of the repository, the bound on lines, is ``page_text``'s."""


# --- text ---------------------------------------------------------------------------------------


def page_text(top: AXNode, *, most_lines: int = MOST_LINES) -> str:
    """Return a pruned tree as text, a line a node, folded ones in one line; what lies behind ``most_lines`` is counted.

    >>> row = AXNode(role="row", fold=" | ", children=(AXNode(role="cell", name="Pen"), AXNode(role="link", name="Buy", id=7)))
    >>> print(page_text(AXNode(role="RootWebArea", name="Shop", children=(row,))))
    page 'Shop'
     | Pen | link [7] 'Buy' |
    """
    lines = [f"page {top.name!r}" if top.role == ROOT and not top.id else _told(top)]
    stack = [(child, 1) for child in reversed(top.children)]
    while stack:
        node, depth = stack.pop()
        if node.fold:
            lines.append(" " * depth + _folded(node))
            if node.role == "row" and all(one.role == "columnheader" for one in node.children):
                lines.append(" " * depth + "| --- " * len(node.children) + "|")
            continue
        lines.append(" " * depth + _told(node))
        stack += [(child, depth + 1) for child in reversed(node.children)]
    if len(lines) > most_lines:
        lines = [*lines[:most_lines], f"({len(lines) - most_lines} more lines are not shown)"]
    return "\n".join(lines)


def line_of(node: AXNode) -> str:
    """Return the line of a node alone, with its number where it has one.

    >>> line_of(AXNode(role="checkbox", name="Daily", id=3, props=(("checked", "true"),)))
    "checkbox [3] 'Daily' checked"
    """
    return _told(node)


def _told(node: AXNode, role: str | None = None) -> str:
    if node.role == TEXT and not node.id:
        return node.name
    if node.role == "listitem" and not node.id:
        return f"- {node.name}".rstrip()
    parts = [node.role if role is None else role, f"[{node.id}]" if node.id else ""]
    parts += [repr(node.name) if node.name else "", f"value: {node.value!r}" if node.value else ""]
    for key, value in node.props:
        if key != "clickable":
            parts.append(key if value == "true" else f"{key}: {value}")
    return " ".join(filter(None, parts))


def _folded(node: AXNode) -> str:
    """Return a node with everything below it as one line."""
    if node.role == "row":
        own = f"row [{node.id}] " if node.id else ""
        return own + "| " + " | ".join(_cell(one) for one in node.children) + " |"
    if node.role == "pair":
        return node.fold.join(_cell(one) for one in node.children)
    inner = node.fold.join(_within(one, _OF.get(node.role)) for one in node.children)
    return f"{_told(node)}: {inner}" if node.children else _told(node)


def _cell(node: AXNode) -> str:
    """Return a cell, a term or a definition in short: its role goes without saying."""
    quiet = node.role in ("cell", "gridcell", "columnheader", "rowheader", "term", "definition", TEXT)
    if not quiet or node.id:
        return _within(node, None)
    return " ".join(filter(None, [node.name, node.value, *[_within(one, None) for one in node.children]]))


def _within(node: AXNode, implied: str | None) -> str:
    if node.fold:
        return _folded(node)
    own = _told(node, "" if node.role == implied and node.id else None)
    inner = " ".join([_within(one, None) for one in node.children])
    return f"{own} ({inner})" if inner else own


# --- trees --------------------------------------------------------------------------------------


def _mapped(top: AXNode, change: Callable[[AXNode], tuple[AXNode, ...]]) -> AXNode:
    """Return the tree with every node, from below, replaced by what ``change`` gives; the root stays one."""

    def walk(node: AXNode) -> tuple[AXNode, ...]:
        inner = tuple([made for child in node.children for made in walk(child)])
        return change(node if inner == node.children else replace(node, children=inner))

    made = walk(top)
    return made[0] if len(made) == 1 else replace(top, children=made)


def _acts_within(node: AXNode) -> bool:
    return any(map(acted_on, nodes_of(node)))


def _says(text: str, part: str) -> bool:
    """Whether a text has a part, as whole words."""
    return bool(part) and f" {part} " in f" {text} "
