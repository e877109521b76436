"""Looking at a page and acting in it by its elements, as the accessibility tree numbers them."""

from __future__ import annotations

import json
from typing import Any

from everystep.core.errors import WorldError
from everystep.tools.axtree import AXNode, tree_of
from everystep.tools.chromium import Page

_CHOOSE = """function (text) {
  const at = [...this.options].findIndex((one) => one.text.replace(/\\s+/g, " ").trim() === text);
  if (at < 0) return [...this.options].map((one) => one.text.trim()).slice(0, 30).join(", ");
  this.focus(); this.selectedIndex = at;
  this.dispatchEvent(new Event("input", {bubbles: true}));
  this.dispatchEvent(new Event("change", {bubbles: true}));
  return null;
}"""


def look(page: Page, without: frozenset[int] = frozenset()) -> AXNode:
    """Return the page's accessibility tree; elements that listen to clicks are marked, those in ``without`` left out."""
    told = page.send("Accessibility.getFullAXTree")
    return tree_of(told["nodes"], clickables(page), without)


def clickables(page: Page) -> frozenset[int]:
    """Return the browser's numbers of the elements that react to clicks, as it says itself."""
    told = page.send("DOMSnapshot.captureSnapshot", {"computedStyles": []})
    found: set[int] = set()
    for document in told["documents"][:1]:
        nodes = document["nodes"]
        found |= {nodes["backendNodeId"][at] for at in nodes.get("isClickable", {}).get("index", ())}
    return frozenset(found)


def click(page: Page, dom: int) -> str:
    """Click an element at its middle; return why it could not be done, or nothing."""
    place = place_of(page, dom)
    if place is None:
        return "it is not shown on the page"
    x, y = place
    for kind, down in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 1)):
        page.send(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": x, "y": y, "button": "left" if down else "none", "buttons": int(kind == "mousePressed"), "clickCount": down},
        )  # fmt: skip
    return ""


def place_of(page: Page, dom: int) -> tuple[float, float] | None:
    """Return the middle of an element after it was brought into view, ``None`` where it is not shown."""
    try:
        page.send("DOM.scrollIntoViewIfNeeded", {"backendNodeId": dom})
        quads = page.send("DOM.getContentQuads", {"backendNodeId": dom})["quads"]
    except WorldError:
        if not page.usable:
            raise
        return None
    if not quads:
        return None
    xs, ys = quads[0][0::2], quads[0][1::2]
    return sum(xs) / 4, sum(ys) / 4


def fill(page: Page, dom: int, text: str) -> str:
    """Put a text in the place of what a field holds; return why it could not be done, or nothing."""
    try:
        page.send("DOM.focus", {"backendNodeId": dom})
    except WorldError:
        if not page.usable:
            raise
        return "nothing can be typed into it"
    page.send(
        "Input.dispatchKeyEvent",
        {"type": "rawKeyDown", "key": "a", "code": "KeyA", "modifiers": 2, "windowsVirtualKeyCode": 65, "commands": ["selectAll"]},
    )  # fmt: skip
    page.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": "a", "code": "KeyA", "modifiers": 2})
    if text:
        page.send("Input.insertText", {"text": text})
    else:
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", {"type": kind, "key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8})  # fmt: skip
    return ""


def choose(page: Page, dom: int, text: str) -> str:
    """Choose the option with a text in a drop-down list; return why it could not be done, or nothing."""
    told = call(page, dom, _CHOOSE, text)
    return "" if told is None else f"it has no option {text!r}; it has: {told}"


def call(page: Page, dom: int, function: str, *arguments: str) -> Any:
    """Return what a function of JavaScript gives that is called on an element."""
    held = page.send("DOM.resolveNode", {"backendNodeId": dom})["object"]["objectId"]
    given = [{"value": one} for one in arguments]
    told = page.send(
        "Runtime.callFunctionOn",
        {"functionDeclaration": function, "objectId": held, "arguments": given, "returnByValue": True, "userGesture": True},
    )  # fmt: skip
    if "exceptionDetails" in told:
        raise WorldError(f"the page refused: {json.dumps(told['exceptionDetails'])[:200]}")
    return told["result"].get("value")


def elements(page: Page, expression: str) -> list[int]:
    """Return the browser's numbers of the nodes in a list that an expression of JavaScript gives, 0 for what is no node."""
    return [one for one, _ in elements_and_texts(page, expression)]


def elements_and_texts(page: Page, expression: str) -> list[tuple[int, tuple[int, ...]]]:
    """Return the same with the numbers of the pieces of text right in each."""
    told = page.send("Runtime.evaluate", {"expression": expression})["result"]
    if "objectId" not in told:
        raise WorldError(f"{expression!r} gave {told.get('description', told.get('value'))!r}, not a list of nodes.")  # fmt: skip
    held = page.send("Runtime.getProperties", {"objectId": told["objectId"], "ownProperties": True})["result"]
    items = {int(one["name"]): one["value"].get("objectId") for one in held if one["name"].isdigit()}
    asked = {at: page.post("DOM.describeNode", {"objectId": items[at]}) for at in sorted(items) if items[at]}
    page.send("Runtime.releaseObject", {"objectId": told["objectId"]})
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    for at, number in asked.items():
        node = page.reply(number, "DOM.describeNode")["node"]
        texts = tuple([one["backendNodeId"] for one in node.get("children", ()) if one["nodeType"] == 3])
        found[at] = (node["backendNodeId"], texts)
    return [found.get(at, (0, ())) for at in range(len(items))]
