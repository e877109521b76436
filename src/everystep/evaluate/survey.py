"""What there is in a package, read from its source: modules, what they import, their public classes, and which protocols these keep.

Nothing is imported for it, so parts whose packages are not installed are seen like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicClass:
    """A class without a leading underscore. ``methods`` have the names of their parameters, without ``self``."""

    name: str
    module: str
    methods: Mapping[str, tuple[str, ...]]
    attributes: frozenset[str]
    bases: tuple[str, ...]

    @property
    def is_protocol(self) -> bool:
        """Whether it is a protocol."""
        return "Protocol" in self.bases


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module: what it imports of its own package and (the first names) of others, its public classes, what its public functions return."""

    name: str
    imports: frozenset[str]
    packages: frozenset[str]
    classes: tuple[PublicClass, ...]
    functions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, ast.expr] = field(default_factory=dict, repr=False)


def survey(root: Path) -> dict[str, Module]:
    """Return the modules of the package in the folder ``root``, by name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = _module(name, ast.parse(path.read_text(encoding="utf-8")), root.name)
    return found


def implementers(protocol: PublicClass, modules: Mapping[str, Module]) -> list[PublicClass]:
    """Return the public classes, without protocols, that have all methods of a protocol, with its parameters first, and all its attributes."""
    by_name = {one.name: one for module in modules.values() for one in module.classes}
    found = []
    for module in modules.values():
        for one in module.classes:
            methods, attributes = _whole(one, by_name)
            keeps = all(
                methods.get(name, ("",))[: len(some)] == some for name, some in protocol.methods.items()
            )
            if keeps and not one.is_protocol and protocol.attributes <= attributes | set(methods):
                found.append(one)
    return found


def upward(modules: Mapping[str, Module], level: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the imports that point up: importing module and imported one. ``level`` has every module's."""
    return [
        (name, other)
        for name, module in modules.items()
        for other in sorted(module.imports)
        if other in level and level[other] > level[name]
    ]


def _whole(
    one: PublicClass, by_name: Mapping[str, PublicClass]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Return a class's methods and attributes with those that it inherits."""
    methods: dict[str, tuple[str, ...]] = {}
    attributes: frozenset[str] = frozenset()
    for base in one.bases:
        if base in by_name and base != one.name and not by_name[base].is_protocol:
            more, further = _whole(by_name[base], by_name)
            methods |= more
            attributes |= further
    return methods | dict(one.methods), attributes | one.attributes


def _module(name: str, tree: ast.Module, package: str) -> Module:
    imported = list(_imported(tree))
    return Module(
        name=name,
        imports=frozenset(one for one in imported if one.partition(".")[0] == package),
        packages=frozenset(one.partition(".")[0] for one in imported) - {package},
        classes=tuple(
            _class(name, node)
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ),
        functions={
            node.name: "" if node.returns is None else ast.unparse(node.returns)
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        },
        values=dict(_values(tree)),
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


def _values(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _class(module: str, node: ast.ClassDef) -> PublicClass:
    methods: dict[str, tuple[str, ...]] = {}
    attributes: set[str] = set()
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(_named(one) in ("property", "cached_property") for one in part.decorator_list):
                attributes.add(part.name)
            else:
                names = [one.arg for one in (*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs)]
                methods[part.name] = tuple(names[1:])
            if part.name == "__init__":
                attributes |= set(_of_self(part))
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            attributes.add(part.target.id)
        elif isinstance(part, ast.Assign):
            attributes |= {one.id for one in part.targets if isinstance(one, ast.Name)}
    return PublicClass(
        name=node.name,
        module=module,
        methods=methods,
        attributes=frozenset(attributes),
        bases=tuple(_named(one) for one in node.bases),
    )


def _of_self(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _named(node: ast.expr) -> str:
    """Return the last name of a decorator or a base, without what is in brackets or parentheses."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def registries(modules: Mapping[str, Module]) -> list[tuple[str, str, str]]:
    """Return the registries of a package: module, name of the value, and what it registers."""
    found = []
    for module in modules.values():
        for name, value in module.values.items():
            if isinstance(value, ast.Call) and _named(value.func) == "Registry" and value.args:
                noun = value.args[0]
                found.append((module.name, name, str(noun.value) if isinstance(noun, ast.Constant) else ""))
    return found
