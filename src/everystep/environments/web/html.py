"""Pieces of HTML that the local web sites are made of: frames, links, forms, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def link(address: str, text: str) -> str:
    """Return a link."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def picture(alt: str) -> str:
    """Return a small picture with a text in its place."""
    return f'<img alt="{escape(alt)}" width="16" height="12" src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">'


def heading(text: str, level: int = 1) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def text(*parts: str) -> str:
    """Return a paragraph whose parts stand in spans of their own, as templates make them."""
    return "<p>" + " ".join(f"<span>{escape(one)}</span>" for one in parts) + "</p>"


def listing(items: Iterable[str]) -> str:
    """Return a list of pieces."""
    return "<ul>" + "".join(f"<li><div>{one}</div></li>" for one in items) + "</ul>"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Return a table; cells are pieces."""
    head = "".join(f"<th>{escape(one)}</th>" for one in titles)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Mapping[str, str]) -> str:
    """Return a description list; the values are pieces."""
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{value}</dd>" for key, value in pairs.items()) + "</dl>"  # fmt: skip


def form(address: str, *fields: str, button: str, get: bool = False) -> str:
    """Return a form with a button at its end."""
    method = "get" if get else "post"
    return f'<form action="{escape(address)}" method="{method}">{"".join(fields)}<button type="submit">{escape(button)}</button></form>'


def field(name: str, label: str, value: str = "", hint: str = "") -> str:
    """Return a text field with its label."""
    return (
        f'<div><label for="{name}">{escape(label)}</label> <input type="text" id="{name}" name="{name}" value="{escape(value)}"'
        f' placeholder="{escape(hint)}"></div>'
    )


def choice(name: str, label: str, options: Sequence[str], chosen: str) -> str:
    """Return a drop-down list with its label."""
    told = "".join(f"<option{' selected' if one == chosen else ''}>{escape(one)}</option>" for one in options)
    return f'<div><label for="{name}">{escape(label)}</label> <select id="{name}" name="{name}">{told}</select></div>'


def tick(name: str, label: str, *, on: bool) -> str:
    """Return a check box with its label."""
    return f'<div><input type="checkbox" id="{name}" name="{name}" value="on"{" checked" if on else ""}> <label for="{name}">{escape(label)}</label></div>'


def hidden(name: str, value: str) -> str:
    """Return a value that a form sends and nobody sees."""
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def frame(site: str, title: str, nav: Sequence[tuple[str, str]], body: Iterable[str], *, search: str = "", aside: Iterable[str] = ()) -> str:  # fmt: skip
    """Return a whole page: banner with logo and links, path, body, side column, footer with the same links again."""
    links = "".join(f"<li>{link(address, name)}</li>" for address, name in nav)
    find = (
        f'<form role="search" action="/search" method="get"><input type="search" name="q" aria-label="Search" placeholder="{escape(search)}">'
        "<button type=\"submit\">Search</button></form>" if search else ""
    )  # fmt: skip
    side = f"<aside>{''.join(aside)}</aside>" if aside else ""
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)} - {escape(site)}</title><link rel=icon href='data:,'>"
        f"<style>*{{margin:0}} nav ul{{padding:0}} nav li{{display:inline}}</style></head><body><header><a href='/'>{picture(site)}</a> "
        f"<span>\ue80e</span><nav aria-label=Main><ul>{links}</ul></nav>{find}</header>"
        f"<div class=path><span>{link('/', 'Home')}</span><span> \u203a </span><span>{escape(title)}</span></div>"
        f"<main><h1>{escape(title)}</h1><div><div>{''.join(body)}</div></div></main>{side}"
        f"<footer><h2>{escape(site)}</h2><ul>{links}</ul><div>{picture('')}{picture('Follow us')}<span>Follow us</span></div>"
        f"<p>\u00a9 2026 <span>{escape(site)}</span></p></footer></body></html>"
    )
