"""Rows of results as Markdown tables."""

from __future__ import annotations


def tables(rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    """Rows that have most of their columns in common stand in one table."""
    out: list[list[dict[str, object]]] = []
    for row in rows:
        for some in out:
            names = {name for other in some for name in other}
            if 2 * len(names & row.keys()) >= len(names | row.keys()):
                some.append(row)
                break
        else:
            out.append([row])
    return out


def table(rows: list[dict[str, object]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    numbers = {
        name: all(isinstance(row.get(name), int | float | None) for row in rows if name in row)
        for name in names
    }
    return [
        "| " + " | ".join(names) + " |",
        "|" + "|".join("---:" if numbers[name] else "---" for name in names) + "|",
        *("| " + " | ".join(cell(row.get(name)) for name in names) + " |" for row in rows),
    ]


def cell(value: object) -> str:
    """Four significant digits; whole numbers with their thousands apart."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if isinstance(value, int) or 1000 <= abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.3g}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
