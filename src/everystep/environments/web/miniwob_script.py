"""A script for tasks of MiniWoB++: from the task's sentence and the listed elements to the next action.

It sees what an agent sees, and its own earlier actions; it looks at no hidden part of a page. ``SOLVED`` has a rule for each task that it knows. A rule that
finds nothing to do waits, so an episode may end unsolved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (255, 0, 0), "green": (0, 128, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0),
    "gray": (128, 128, 128), "grey": (128, 128, 128), "purple": (128, 0, 128), "yellow": (255, 255, 0), "orange": (255, 165, 0),
    "cyan": (0, 255, 255), "aqua": (0, 255, 255), "magenta": (255, 0, 255), "pink": (255, 192, 203), "olive": (128, 128, 0),
}  # fmt: skip
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")  # fmt: skip
_FIELDS = ("input_text", "input_password", "input_number", "input_date", "input_time")
WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An element as it is listed: pixels from the page's upper left corner, texts empty where there are none."""

    number: int
    tag: str
    x: int
    y: int
    w: int
    h: int
    text: str = ""
    id: str = ""
    cls: str = ""
    title: str = ""
    hint: str = ""
    value: str = ""
    checked: bool = False
    disabled: bool = False
    focused: bool = False
    fill: str = ""
    corners: int = 0
    options: Sequence[str] = ()

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle."""
        return self.x + self.w / 2, self.y + self.h / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a rule looks at: the sentence, the elements, the actions done so far."""

    query: str
    seen: Sequence[Seen]
    done: Sequence[str]

    def ask(self, pattern: str) -> tuple[str, ...]:
        """Return the groups of a pattern in the sentence, empty texts where it does not fit."""
        found = re.search(pattern, self.query)
        return tuple(group or "" for group in found.groups()) if found else ("",) * re.compile(pattern).groups

    def all(self, *tags: str, cls: str = "", text: str | None = None) -> list[Seen]:
        """Return the elements with one of the tags, a class and a text."""
        return [
            one for one in self.seen
            if (not tags or one.tag in tags) and (not cls or cls in one.cls.split()) and (text is None or one.text == text)
        ]  # fmt: skip

    def click(self, one: Seen | None) -> str:
        """Return the action that clicks an element, or waiting where there is none."""
        return f"click {one.number}" if one is not None else WAIT

    def button(self, *texts: str) -> str:
        """Return the action that clicks the first element with one of the texts; case does not matter."""
        wanted = [text.lower() for text in texts or ("submit",)]
        found = [one for one in self.seen if one.text.lower() in wanted]
        found.sort(key=lambda one: one.tag != "button")
        return self.click(found[0] if found else None)

    def fill(self, one: Seen | None, text: str) -> str:
        """Return the action that types into a field, or nothing where it holds the text."""
        return "" if one is None or one.value == text else f"type {one.number} {text}"


Rule = Callable[[Now], str]


def next_action(name: str, query: str, seen: Sequence[Seen], done: Sequence[str]) -> str:
    """Return what the rule of a task does next."""
    return SOLVED[name](Now(query=query, seen=seen, done=done))


def _first(*options: str) -> str:
    return next((one for one in options if one), WAIT)


def _nth(word: str) -> int:
    found = re.match(r"\d+", word)
    return int(found.group()) - 1 if found else 0


def _words(text: str) -> list[str]:
    return [one for one in re.split(r", | and ", text) if one]


def _rgb(fill: str) -> tuple[int, int, int] | None:
    if fill in _COLOURS:
        return _COLOURS[fill]
    found = re.findall(r"\d+", fill)
    return (
        (int(found[0]), int(found[1]), int(found[2])) if len(found) >= 3 and fill.startswith("rgb") else None
    )


def _after(now: Now, one: Seen) -> Seen | None:
    rest = [other for other in now.seen if other.number > one.number]
    return rest[0] if rest else None


# --- clicking -----------------------------------------------------------------------------------


def _click_test(now: Now) -> str:
    return now.click(next(iter(now.all("button")), None))


def _click_named(now: Now) -> str:
    (name,) = now.ask(r'"(.*)"')
    return now.button(name or now.ask(r"button (\w+)\.")[0])


def _click_sequence(now: Now) -> str:
    names = re.findall(r"button (\w+)", now.query)
    return now.button(names[min(len(now.done), len(names) - 1)])


def _button_delay(now: Now) -> str:
    (seconds,) = now.ask(r"wait (\d+)")
    names = re.findall(r"button (\w+)", now.query)
    if not now.done:
        return now.button(names[0])
    return WAIT if len(now.done) <= int(seconds) else now.button(names[1])


def _click_link(now: Now) -> str:
    (name,) = now.ask(r'"(.*)"')
    return now.click(next(iter(now.all("span", cls="alink", text=name)), None))


def _click_dialog(now: Now) -> str:
    (name,) = now.ask(r'"(.*)"')
    shut = next((one for one in now.seen if one.title == "Close"), None)
    return now.click(shut) if name == "x" else now.button(name)


def _marked(now: Now, tag: str) -> str:
    (asked,) = now.ask(r"Select (.*) and click")
    wanted = _words(asked)
    for one in now.all(tag):
        label = _after(now, one)
        if label is not None and label.text in wanted and not one.checked:
            return now.click(one)
    return now.button()


def _click_checkboxes(now: Now) -> str:
    return _marked(now, "input_checkbox")


def _click_option(now: Now) -> str:
    return _marked(now, "input_radio")


def _choose_list(now: Now) -> str:
    (name,) = now.ask(r"Select (.*) from the list")
    one = now.all("select")[0]
    return now.button() if one.value == name and now.done else f"select {one.number} {name}"


def _scroll_list(now: Now) -> str:
    (asked,) = now.ask(r"Select (.*) from the scroll list")
    one = now.all("select")[0]
    left = [name for name in _words(asked) if name not in one.value.split(", ")]
    return f"select {one.number} {left[0]}" if left else now.button()


def _click_color(now: Now) -> str:
    (name,) = now.ask(r"on the (\w+)")
    return now.click(
        next((one for one in now.all("div", cls="color") if _rgb(one.fill) == _COLOURS.get(name)), None)
    )


def _click_shades(now: Now) -> str:
    (name,) = now.ask(r"shades of (\w+)")
    for one in now.seen:
        rgb = _rgb(one.fill)
        if one.tag not in ("div", "span") or rgb is None or len(set(rgb)) == 1:
            continue
        shade = ("red", "green", "blue")[rgb.index(max(rgb))]
        if shade == name and "selected" not in one.cls and now.click(one) not in now.done:
            return now.click(one)
    return now.button()


def _click_tab(now: Now) -> str:
    (name,) = now.ask(r"on (Tab #\d+)")
    return now.button(name)


def _find_in_tabs(now: Now) -> str:
    found = _click_link(now)
    tabs = now.all("a", cls="ui-tabs-anchor")
    return found if found != WAIT or not tabs else now.click(tabs[(len(now.done) + 1) % len(tabs)])


def _collapsible(now: Now) -> str:
    if now.done:
        return now.button()
    return now.click(next((one for one in now.seen if one.text.startswith("Section")), None))


def _find_in_sections(now: Now) -> str:
    found = _click_link(now)
    heads = [one for one in now.seen if one.text.startswith("Section")]
    return found if found != WAIT or not heads else now.click(heads[len(now.done) % len(heads)])


def _click_menu(now: Now) -> str:
    (path,) = now.ask(r"Select (.*)")
    names = path.split(">")
    shown = [one for name in names for one in now.seen if one.text == name]
    if not shown:
        return WAIT
    last = shown[-1]
    if last.text == names[-1]:
        return now.click(last)
    hover = f"hover {last.number}"
    return WAIT if now.done and now.done[-1] == hover else hover


def _click_menu_2(now: Now) -> str:
    if not now.done:
        return now.button("Menu")
    (label,) = now.ask(r'labeled "(.*)"')
    (icon,) = now.ask(r'with the "(.*)" icon')
    if label:
        found = now.button(label)
        return found if found != WAIT else now.button("Playback")
    icons = {"disk": "ui-icon-disk", "zoom": "ui-icon-zoomin", "print": "ui-icon-print"}
    wanted = {**icons, "zoom-in": "ui-icon-zoomin", "zoom-out": "ui-icon-zoomout", "printer": "ui-icon-print"}.get(icon, f"ui-icon-{icon}")  # fmt: skip
    found_icon = next((one for one in now.seen if wanted in one.cls), None)
    return now.click(found_icon) if found_icon else now.button("Playback")


def _click_pie(now: Now) -> str:
    (name,) = now.ask(r'"(.*)"')
    if not now.done:
        return now.button("+")
    if len(now.done) == 1:
        return WAIT  # it unfolds
    found = [one for one in now.all("tspan") if one.text == name]
    return now.click(found[0] if found else None)


def _click_widget(now: Now) -> str:
    (kind,) = now.ask(r'"(.*)"')
    tag = {"text": "input_text", "radio": "input_radio", "checkbox": "input_checkbox"}.get(kind, kind)
    return now.click(next(iter(now.all(tag)), None))


def _kind(one: Seen) -> str:
    if one.tag == "text":
        return "digit" if one.text.isdigit() else "letter"
    return {"circle": "circle", "rect": "rectangle", "polygon": "triangle"}.get(one.tag, "")


def _alike(now: Now, asked: str) -> list[Seen]:
    """Return the drawn things that a description fits, such as ``large blue triangle`` or ``items``."""
    words = {word.rstrip("s") for word in asked.lower().split()}
    found = []
    for one in now.seen:
        kind = _kind(one)
        if not kind:
            continue
        big = one.h > 15
        colour = words & set(_COLOURS)
        if words & {"small", "large"} and big != ("large" in words):
            continue
        if colour and _rgb(one.fill) != _COLOURS[next(iter(colour))]:
            continue
        if words & {"circle", "rectangle", "triangle", "digit", "letter"} and kind not in words:
            continue
        if "shape" in words and kind in ("digit", "letter"):
            continue
        if (single := next((word for word in asked.split() if len(word) == 1 and word != "a"), "")) and one.text != single:  # fmt: skip
            continue
        found.append(one)
    return found


def _click_shape(now: Now) -> str:
    (asked,) = now.ask(r"Click on an? (.*)")
    return now.click(next(iter(_alike(now, asked)), None))


def _count_shape(now: Now) -> str:
    (asked,) = now.ask(r"How many (.*) are there")
    return now.button(str(len(_alike(now, asked))))


def _identify_shape(now: Now) -> str:
    shapes = [one for one in now.seen if _kind(one)]
    kind = _kind(shapes[0]) if shapes else ""
    return now.button({"digit": "Number"}.get(kind, kind))


def _grid(now: Now) -> str:
    (place,) = now.ask(r"(\(.*\))")
    return now.click(next((one for one in now.seen if one.id == place), None))


def _circle_center(now: Now) -> str:
    return now.button() if now.done else now.click(now.all("circle")[0])


def _midpoint(now: Now) -> str:
    if now.done:
        return now.button()
    one, two = (circle.centre for circle in now.all("circle")[:2])
    return f"point {round((one[0] + two[0]) / 2)} {round((one[1] + two[1]) / 2)}"


def _bisect(now: Now) -> str:
    if now.done:
        return now.button()
    (tip,) = (one.centre for one in now.all("circle", cls="init-blue"))
    ends = [one.centre for one in now.all("circle", cls="init-black")]
    x = y = 0.0
    for end in ends:
        size = ((end[0] - tip[0]) ** 2 + (end[1] - tip[1]) ** 2) ** 0.5
        x, y = x + (end[0] - tip[0]) / size, y + (end[1] - tip[1]) / size
    size = (x * x + y * y) ** 0.5 or 1.0
    far = min(60.0, *(
        (edge - at) / (part / size) for at, part, low, high in ((tip[0], x, 8, 150), (tip[1], y, 60, 170)) if abs(part) > 1e-6
        for edge in (high if part > 0 else low,)
    ))  # fmt: skip
    return f"point {round(tip[0] + x / size * far)} {round(tip[1] + y / size * far)}"


def _right_angle(now: Now) -> str:
    if now.done:
        return now.button()
    blue = next(one.centre for one in now.seen if "blue" in one.id)
    black = next(one.centre for one in now.seen if "black" in one.id)
    x, y = black[1] - blue[1], blue[0] - black[0]
    size = (x * x + y * y) ** 0.5 or 1.0
    for far in (50, -50, 35, -35, 20, -20):
        at = blue[0] + x / size * far, blue[1] + y / size * far
        if 6 < at[0] < 150 and 56 < at[1] < 200:
            return f"point {round(at[0])} {round(at[1])}"
    return WAIT


def _odd_or_even(now: Now) -> str:
    numbers = now.all("div", cls="display-number")
    if len(now.done) >= len(numbers):
        return now.button()
    one = numbers[len(now.done)]
    return f"click {one.number + (1 if int(one.text) % 2 == 0 else -1)}"


def _generate(now: Now) -> str:
    rule, number = now.ask(r"(less than|greater than|odd|even) ?(-?\d*)")
    shown = next(one.text for one in now.seen if one.id == "display-number")
    if not re.fullmatch(r"-?\d+", shown):
        return now.button("Generate")
    value = int(shown)
    good = {
        "less than": bool(number) and value < int(number or 0), "greater than": bool(number) and value > int(number or 0),
        "odd": value % 2 == 1, "even": value % 2 == 0,
    }.get(rule, False)  # fmt: skip
    return now.button() if good else now.button("Generate")


def _buy_ticket(now: Now) -> str:
    times = [
        int(h) * 60 + int(m)
        for h, m in (re.findall(r"\d+", one.text) for one in now.all("div", cls="time-duration"))
    ]
    shops = now.all("button", cls="buy-ticket")
    prices = [int(re.sub(r"\D", "", one.text)) for one in shops]
    values = prices if "cost" in now.query or "cheap" in now.query or "expensive" in now.query else times
    most = "longest" in now.query or "most expensive" in now.query
    return now.click(shops[values.index(max(values) if most else min(values))])


# --- typing ---------------------------------------------------------------------------------------


def _enter_text(now: Now) -> str:
    (text,) = now.ask(r'"(.*?)"')
    if "upper case" in now.query:
        text = text.upper()
    elif "lower case" in now.query:
        text = text.lower()
    return _first(*(now.fill(one, text) for one in now.all(*_FIELDS)), now.button())


def _login(now: Now) -> str:
    name, word = now.ask(r'username "(.*?)" and the password "(.*?)"')
    popup = [one for one in now.seen if one.id.startswith("popup") and one.tag in ("button", "span")]
    if popup:
        return now.click(popup[-1])
    text, secret = now.all("input_text"), now.all("input_password")
    return _first(
        now.fill(next(iter(text), None), name), now.fill(next(iter(secret), None), word), now.button("Login", "OK")
    )  # fmt: skip


def _enter_date(now: Now) -> str:
    month, day, year = now.ask(r"(\d+)/(\d+)/(\d+)")
    one = now.all("input_date")
    return _first(now.fill(next(iter(one), None), f"{year}-{month}-{day}"), now.button())


def _enter_time(now: Now) -> str:
    hour, minute, half = now.ask(r"(\d+):(\d+) ([AP]M)")
    told = f"{int(hour) % 12 + 12 * (half == 'PM'):02}:{minute}"
    return _first(now.fill(next(iter(now.all("input_time")), None), told), now.button())


def _focus(now: Now) -> str:
    (nth,) = now.ask(r"(\d+)\w\w input")
    return now.click(now.all("input_text")[_nth(nth)])


def _answer(now: Now, text: str) -> str:
    return _first(now.fill(next(iter(now.all("input_text", "input_number")), None), text), now.button())


def _find_word(now: Now) -> str:
    (nth,) = now.ask(r"the (\d+)\w\w word")
    words = re.sub(r"[^\w\s]", "", now.all("p")[0].text).split()
    return _answer(now, words[_nth(nth)])


def _scroll_text(now: Now) -> str:
    return _answer(now, now.all("textarea")[0].value.split()[-1].strip(".,"))


def _text_transform(now: Now) -> str:
    return _answer(now, "".join(one.text for one in now.all("span")))


def _arithmetic(now: Now) -> str:
    found = re.fullmatch(r"(-?\d+) *([-+x*]) *(-?\d+) *=", now.seen[0].text)
    if found is None:
        return WAIT
    left, sign, right = int(found[1]), found[2], int(found[3])
    return _answer(now, str({"+": left + right, "-": left - right}.get(sign, left * right)))


def _algebra(now: Now) -> str:
    found = re.fullmatch(r"(-?\d+|x) *([-+]) *(-?\d+|x) *= *(-?\d+|x)", now.seen[0].text)
    if found is None:
        return WAIT
    for x in range(-2000, 2000):
        a, b, c = (x if found[n] == "x" else int(found[n]) for n in (1, 3, 4))
        if (a + b if found[2] == "+" else a - b) == c:
            return _answer(now, str(x))
    return WAIT


def _visual_addition(now: Now) -> str:
    return _answer(now, str(len(now.all("span", cls="addition-block"))))


def _cells(now: Now) -> dict[str, str]:
    return {one.text: two.text for one, two in pairwise(now.all("td"))}


def _read_table(now: Now) -> str:
    (name,) = now.ask(r"value of (.*) into")
    return _answer(now, _cells(now).get(name, ""))


def _read_table_2(now: Now) -> str:
    cells = _cells(now)
    acts = []
    for label in now.all("label"):
        one = _after(now, label)
        acts.append(now.fill(one, cells.get(label.text.rstrip(":"), "")))
    return _first(*acts, now.button())


def _copy_paste(now: Now) -> str:
    (nth,) = now.ask(r"the (\d+)\w\w text area")
    return _answer(now, now.all("textarea")[_nth(nth)].value)


def _guess(now: Now) -> str:
    if now.done and now.done[-1].startswith("type"):
        return now.button()
    tried = [int(act.split()[2]) for act in now.done if act.startswith("type")]
    told = " ".join(one.text for one in now.seen).lower()
    guess = 5 if not tried else tried[-1] + (1 if "higher" in told else -1)
    return f"type {now.all('input_number')[0].number} {max(0, min(9, guess))}"


def _multi(now: Now) -> str:
    genre, director, year = now.ask(r"Search for (\w+) movies directed by (.+) from year (\d+)")
    acts = []
    for one, two in pairwise(now.seen):
        if two.tag == "input_text":
            label = one.text.lower()
            text = genre if "genre" in label else director if "director" in label else year
            acts.append(now.fill(two, text))
    return _first(
        *acts, now.click(next((one for one in reversed(now.seen) if one.tag in ("button", "div")), None))
    )


def _autocomplete(now: Now) -> str:
    start, end = now.ask(r'starts with "(.*?)"(?: and ends with "(.*?)")?')
    field = now.all("input_text")[0]
    items = [one for one in now.seen if "ui-menu-item-wrapper" in one.cls]
    fits = [one for one in items if one.text.startswith(start) and one.text.endswith(end)]
    if field.value.startswith(start) and field.value.endswith(end) and field.value != start:
        return now.button()
    if fits:
        return now.click(fits[0])
    return now.fill(field, start) or WAIT


def _slider(now: Now) -> str:
    (asked,) = now.ask(r"Select (-?\d+) with")
    return _slide(now, [int(asked)])


def _slider_2(now: Now) -> str:
    (asked,) = now.ask(r"\[(.*)\]")
    return _slide(now, [int(one) for one in asked.split(",")])


def _slide(now: Now, wanted: Sequence[int]) -> str:
    handles = now.all("span", cls="ui-slider-handle")
    shown = [one for one in now.seen if one.id.startswith("val")]
    for handle, value, want in zip(handles, shown, wanted, strict=False):
        off = want - int(value.text)
        if off:
            if not handle.focused:
                return now.click(handle)
            return f"press Arrow{'Right' if off > 0 else 'Left'} {abs(off)}"
    return ""  # everything is where it should be


def _sliders(rule: Rule) -> Rule:
    return lambda now: rule(now) or now.button()


def _spinner(now: Now) -> str:
    (asked,) = now.ask(r"Select (-?\d+) with")
    field = now.all("input_text")[0]
    off = int(asked) - int(field.value or 0)
    if not off:
        return now.button()
    if not field.focused:
        return now.click(field)
    return f"press Arrow{'Up' if off > 0 else 'Down'} {abs(off)}"


def _form_1(now: Now) -> str:
    asked, nth = now.ask(r"Select (-?\d+) with the slider, click the (\d)")
    box = now.all("input_checkbox")[_nth(nth)]
    return _slide(now, [int(asked)]) or ("" if box.checked else now.click(box)) or now.button()


def _form_2(now: Now) -> str:
    radio, number, nth = now.ask(r'the (\d)\w\w radio button and enter the number "(-?\d+)" into the (\d)')
    one = now.all("input_radio")[_nth(radio)]
    field = now.all("input_text", "input_number")[_nth(nth)]
    return _first("" if one.checked else now.click(one), now.fill(field, number), now.button())


def _form_3(now: Now) -> str:
    item, label = now.ask(r'Choose (.*) from the dropdown, then click the button labeled "(.*)"')
    one = now.all("select")[0]
    return now.button(label) if one.value == item else f"select {one.number} {item}"


# --- pages of several parts -------------------------------------------------------------------------


def _date(now: Now) -> str:
    month, day, year = now.ask(r"(\d+)/(\d+)/(\d+)")
    field = next(one for one in now.seen if one.id == "datepicker")
    if field.value == f"{month}/{day}/{year}":
        return ""
    shown = next((one for one in now.seen if "ui-datepicker-month" in one.cls), None)
    if shown is None:
        return now.click(field)
    off = int(month) - 1 - _MONTHS.index(shown.text)
    if off:
        way = "next" if off > 0 else "prev"
        return now.click(next((one for one in now.seen if f"ui-datepicker-{way}" in one.cls), None))
    return now.click(next((one for one in now.all("a") if one.text == str(int(day))), None))


def _choose_date(now: Now) -> str:
    return _date(now) or now.button()


def _search_engine(now: Now) -> str:
    (text,) = now.ask(r'enter "(.*?)"')
    (nth,) = now.ask(r"the (\d+)\w\w search")
    field = now.all("input_text")[0]
    if field.value != text:
        return now.fill(field, text)
    if now.button("Search") not in now.done:
        return now.button("Search")
    found = [one for one in now.all("a") if "page-link" not in one.cls and one.text not in ("<", ">")]
    page, place = divmod(_nth(nth), 3)
    if sum(act == "page" for act in now.done) < page and not _on_page(now, page):
        return now.click(
            next((one for one in now.seen if one.tag == "a" and one.text == str(page + 1)), None)
        )
    return now.click(found[place] if place < len(found) else None)


def _on_page(now: Now, page: int) -> bool:
    return len(now.done) >= 2 + bool(page)


def _tree(now: Now) -> str:
    (name,) = now.ask(r'"(.*)"')
    found = next(
        (one for one in now.seen if one.text == name and one.cls.split()[:1] in (["file"], ["folder"])), None
    )
    if found:
        return now.click(found)
    shut = next((one for one in now.seen if "expandable-hitarea" in one.cls), None)
    return now.click(shut)


def _posts(now: Now, user: str) -> list[list[Seen]]:
    posts: list[list[Seen]] = []
    for one in now.seen:
        if one.cls.split()[:1] == ["name"]:
            posts.append([])
        if posts:
            posts[-1].append(one)
    return [post for post in posts if any(one.text == user for one in post)]


def _social(now: Now) -> str:
    (user,), (what,) = now.ask(r"user (@\w+)"), now.ask(r'"(.*?)"')
    posts = _posts(now, user)
    if not posts:
        return WAIT
    word = what.lower().split()[0]
    return _first(
        *(now.click(one) for one in posts[0] if one.cls.split()[:1] == [word]),
        *(now.click(one) for one in now.seen if one.text == what),
        *(now.click(one) for one in posts[0] if one.cls.split()[:1] == ["more"]),
    )


def _social_many(now: Now) -> str:
    (what,), (user,), (count,) = now.ask(r'"(.*?)"'), now.ask(r"by (@\w+)"), now.ask(r"on (\d+) post")
    buttons = [one for post in _posts(now, user) for one in post if one.cls.split()[:1] == [what.lower()]]
    for one in buttons[: int(count) if count else None]:
        if f"click {one.number}" not in now.done:
            return now.click(one)
    return now.button()


def _phone_book(now: Now) -> str:
    name, what = now.ask(r"Find (.*) in the contact book and click on their (.*)\.")
    if any(one.text == name for one in now.all("h2")):
        cls = {"phone number": "phone"}.get(what, what)
        return now.click(next(iter(now.all("a", cls=cls)), None))
    return now.button(">")


def _email(now: Now) -> str:
    sender, text, to = "", "", ""
    for pattern in (
        r"email (?:by|from) (\w+)", r"(\w+)'s (?:e?mail|message)", r"(?:from|by) (\w+)", r"to (\w+)'s",
    ):  # fmt: skip
        if sender := now.ask(pattern)[0]:
            break
    (text,) = now.ask(r'text "(.*)"')
    (to,) = now.ask(r"forward (?:that email|it|.*) to (\w+)")
    row = next((one for one in now.all("div", cls="email-sender") if one.text == sender), None)
    if "trash" in now.query or "star" in now.query:
        kind = "trash" if "trash" in now.query else "star"
        icons = [one for one in now.seen if one.cls.split()[:1] == [kind] and row and one.number > row.number]
        return now.click(icons[0] if icons else None)
    opened = [act for act in now.done if act.startswith("click")]
    if not opened:
        return now.click(row)
    area = next((one for one in now.seen if one.id == "reply-text" or "forward-sender" in one.cls.split()), None)  # fmt: skip
    if area is not None:
        send = next((one for one in now.seen if one.id.startswith("send")), None)
        return now.fill(area, text or to) or now.click(send)
    return now.button("Reply" if text else "Forward")


def _tic_tac_toe(now: Now) -> str:
    board = [
        "X" if "mark-x" in one.cls else "O" if "mark-o" in one.cls else ""
        for one in sorted((one for one in now.seen if one.id.startswith("ttt-")), key=lambda one: one.id)
    ]
    lines = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
    for side in "XO":
        for line in lines:
            marks = [board[n] for n in line]
            if marks.count(side) == 2 and "" in marks:
                return _cell(now, line[marks.index("")])
    return next((_cell(now, n) for n in (4, 0, 8, 2, 6, 1, 3, 5, 7) if not board[n]), WAIT)


def _cell(now: Now, number: int) -> str:
    return now.click(next(one for one in now.seen if one.id == f"ttt-{number}"))


def _terminal(now: Now) -> str:
    (ending,) = now.ask(r"extension (\.\w+)")
    field = now.all("input_text")[0]
    typed = [act for act in now.done if act.startswith("type")]
    if now.done and now.done[-1].startswith("type"):
        return "press Enter"
    if not typed:
        return f"type {field.number} ls"
    shown = " ".join(one.text for one in now.all("span", cls="output"))
    if ending:
        names = re.findall(rf"\S+{re.escape(ending)}(?!\S)", shown)
    else:
        names = [word for word in shown.split("login:")[-1].split()[4:] if "." not in word]
    return f"type {field.number} rm {names[0]}" if names else WAIT


# --- dragging ---------------------------------------------------------------------------------------


def _drag_way(now: Now) -> str:
    (way,) = now.ask(r"(left|right|up|down)")
    one = next(one for one in now.seen if one.tag in ("circle", "rect", "polygon", "text"))
    x, y = {"left": (-30, 0), "right": (30, 0), "up": (0, -30), "down": (0, 30)}[way]
    return now.button() if now.done else f"drag {one.number} by {x} {y}"


def _drag_box(now: Now) -> str:
    small, large = now.all("div", cls="ui-draggable")[:2]
    return now.button() if now.done else f"drag {small.number} to {large.number}"


def _drag_shapes(now: Now) -> str:
    boxes = sorted((one for one in now.seen if one.id == "shape-container"), key=lambda one: one.x)
    (asked,) = now.ask(r"all (\w+) into")
    (side,) = now.ask(r"into the (left|right)")
    if not boxes:
        return WAIT
    for one in now.seen:
        kind = _kind(one)
        if one.id == "shape-container" or not kind:
            continue
        right = kind == asked.rstrip("s")
        box = (boxes[0] if right else None) if len(boxes) == 1 else boxes[int((side == "right") == right)]
        if box is None or _inside(one, box):
            continue
        place = sum(_inside(other, box) for other in now.seen if other is not one and _kind(other) and other.id != "shape-container")  # fmt: skip
        x, y = one.centre
        to_x, to_y = box.x + 14 + 20 * (place % 3), box.y + 13 + 19 * (place // 3 % 2)
        return f"drag {one.number} by {round(to_x - x)} {round(to_y - y)}"
    return now.button()


def _inside(one: Seen, box: Seen) -> bool:
    x, y = one.centre
    return box.x < x < box.x + box.w and box.y < y < box.y + box.h


def _resize(now: Now) -> str:
    what, how = now.ask(r"that the (height|width) is (larger|smaller)")
    handle = now.all("div", cls=f"ui-resizable-{'s' if what == 'height' else 'e'}")[0]
    by = 20 if how == "larger" else -20
    x, y = (by, 0) if what == "width" else (0, by)
    return now.button() if now.done else f"drag {handle.number} by {x} {y}"


def _scroll_end(now: Now) -> str:
    way = "down" if "bottom" in now.query else "up"
    area = now.all("textarea")[0]
    return f"scroll {area.number} {way}" if len(now.done) < 6 else now.button()


SOLVED: Mapping[str, Rule] = {
    "bisect-angle": _bisect, "button-delay": _button_delay, "buy-ticket": _buy_ticket,
    "choose-date": _choose_date, "choose-date-easy": _choose_date, "choose-date-medium": _choose_date, "choose-date-nodelay": _choose_date,
    "choose-list": _choose_list, "circle-center": _circle_center, "click-button": _click_named, "click-button-sequence": _click_sequence,
    "click-checkboxes": _click_checkboxes, "click-checkboxes-large": _click_checkboxes, "click-checkboxes-transfer": _click_checkboxes,
    "click-collapsible": _collapsible, "click-collapsible-nodelay": _collapsible, "click-collapsible-2": _find_in_sections,
    "click-collapsible-2-nodelay": _find_in_sections, "click-color": _click_color, "click-dialog": _click_dialog, "click-dialog-2": _click_dialog,
    "click-link": _click_link, "click-menu": _click_menu, "click-menu-2": _click_menu_2, "click-option": _click_option, "click-pie": _click_pie,
    "click-scroll-list": _scroll_list, "click-shades": _click_shades, "click-shape": _click_shape,
    "click-tab": _click_tab, "click-tab-2": _find_in_tabs, "click-tab-2-easy": _find_in_tabs, "click-tab-2-medium": _find_in_tabs,
    "click-tab-2-hard": _find_in_tabs, "click-test": _click_test, "click-test-2": _click_named, "click-test-transfer": _click_named,
    "click-widget": _click_widget, "copy-paste": _copy_paste, "copy-paste-2": _copy_paste, "count-shape": _count_shape,
    "drag-box": _drag_box, "drag-circle": _drag_way, "drag-shapes": _drag_shapes, "drag-shapes-2": _drag_shapes, "drag-single-shape": _drag_way,
    "email-inbox": _email, "email-inbox-delete": _email, "email-inbox-forward": _email, "email-inbox-important": _email,
    "email-inbox-noscroll": _email, "email-inbox-reply": _email, "email-inbox-star-reply": _email, "enter-date": _enter_date,
    "enter-password": _enter_text, "enter-text": _enter_text, "enter-text-2": _enter_text, "enter-text-dynamic": _enter_text,
    "enter-time": _enter_time, "find-midpoint": _midpoint, "find-word": _find_word, "focus-text": _focus, "focus-text-2": _focus,
    "form-sequence": _form_1, "form-sequence-2": _form_2, "form-sequence-3": _form_3, "generate-number": _generate, "grid-coordinate": _grid,
    "guess-number": _guess, "identify-shape": _identify_shape, "login-user": _login, "login-user-popup": _login, "multi-layouts": _multi,
    "multi-orderings": _multi, "navigate-tree": _tree, "odd-or-even": _odd_or_even, "phone-book": _phone_book,
    "read-table": _read_table, "read-table-2": _read_table_2, "resize-textarea": _resize, "right-angle": _right_angle, "scroll-text": _scroll_text,
    "scroll-text-2": _scroll_end, "search-engine": _search_engine, "simple-algebra": _algebra, "simple-arithmetic": _arithmetic,
    "social-media": _social, "social-media-all": _social_many, "social-media-some": _social_many, "terminal": _terminal,
    "text-transform": _text_transform, "tic-tac-toe": _tic_tac_toe, "unicode-test": _click_named, "use-autocomplete": _autocomplete,
    "use-autocomplete-nodelay": _autocomplete, "use-slider": _sliders(_slider), "use-slider-2": _sliders(_slider_2), "use-spinner": _spinner,
    "visual-addition": _visual_addition,
}  # fmt: skip
