"""Sphinx directives that make the reference from the code: interfaces, values, config models, plugins, command line.

Docstrings are shown as they are written, by a few plain rules (paragraphs, lists, `code`, indented blocks): whoever
writes one need not know that a documentation tool reads it.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from config_fields import Row, nested_models, rows
from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from zope.interface.interface import InterfaceClass, Method

from p2pframe.interfaces import SEAMS

LOG = logging.getLogger(__name__)
_CODE = re.compile(r"``(.+?)``|`([^`]+?)`")
_BULLET = re.compile(r"[-*] ")


# --- text ---------------------------------------------------------------------------------------------------


def inline(text: str) -> list[nodes.Node]:
    """A line of a docstring, with what stands between backticks as code."""
    out: list[nodes.Node] = []
    at = 0
    for match in _CODE.finditer(text):
        out.append(nodes.Text(text[at : match.start()]))
        code = match[1] or match[2]
        out.append(nodes.literal(code, code))
        at = match.end()
    out.append(nodes.Text(text[at:]))
    return out


def prose(doc: str | None) -> list[nodes.Node]:
    """A docstring as paragraphs, bullet lists and literal blocks."""
    out: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc or "")):
        lines = block.splitlines()
        if not lines:
            continue
        if all(line.startswith("  ") for line in lines) or re.match(r"[=+|-]{3,}", lines[0]):
            text = textwrap.dedent(block)
            out.append(nodes.literal_block(text, text))
        elif _BULLET.match(lines[0]):
            items = nodes.bullet_list()
            for item in re.split(r"\n(?=[-*] )", block):
                text = " ".join(item[2:].split())
                items += nodes.list_item("", nodes.paragraph("", "", *inline(text)))
            out.append(items)
        else:
            text = " ".join(block.split())
            out.append(nodes.paragraph("", "", *inline(text.removesuffix(":") + ":" if text.endswith("::") else text)))
    return out


def section(title: str, *parts: Iterable[nodes.Node], id: str | None = None) -> nodes.section:
    made = nodes.section(ids=[nodes.make_id(id or title)], names=[title])
    made += nodes.title("", "", *inline(title))
    for part in parts:
        made.extend(part)
    return made


def definitions(entries: Iterable[tuple[str, list[nodes.Node]]]) -> list[nodes.Node]:
    made = nodes.definition_list()
    for term, body in entries:
        item = nodes.definition_list_item("", nodes.term("", "", nodes.literal(term, term)))
        item += nodes.definition("", *(body or [nodes.paragraph()]))
        made += item
    return [made] if len(made) else []


def table(head: list[str], body: Iterable[list[list[nodes.Node]]], widths: list[int]) -> nodes.table:
    made = nodes.table()
    group = nodes.tgroup(cols=len(head))
    made += group
    for width in widths:
        group += nodes.colspec(colwidth=width)
    thead = nodes.thead()
    group += thead
    thead += nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in head))
    tbody = nodes.tbody()
    group += tbody
    for cells in body:
        tbody += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))
    return made


# --- source -------------------------------------------------------------------------------------------------


def class_source(cls: object, module: str, name: str) -> ast.ClassDef:
    """The definition of a class in the source of its module: zope.interface keeps no annotations."""
    for node in ast.walk(ast.parse(inspect.getsource(import_module(module)))):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{module} has no class {name}")


def signatures(definition: ast.ClassDef) -> dict[str, str]:
    """Each method's signature with its annotations, by name."""
    out = {}
    for node in definition.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            out[node.name] = f"{node.name}({ast.unparse(node.args)}){returns}"
    return out


def attributes(definition: ast.ClassDef) -> list[tuple[str, str, str]]:
    """Name, type and docstring (the string that follows) of each annotated attribute."""
    out = []
    for node, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            doc = ""
            if (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                doc = after.value.value
            out.append((node.target.id, ast.unparse(node.annotation), doc))
    return out


# --- what is shown ------------------------------------------------------------------------------------------


def interface(iface: InterfaceClass) -> nodes.section:
    definition = class_source(iface, iface.__module__, iface.__name__)
    signature = signatures(definition)
    types = {name: kind for name, kind, _ in attributes(definition)}
    described = sorted(iface.namesAndDescriptions(), key=lambda pair: getattr(pair[1], "order", 0))
    entries = []
    for name, element in described:
        if isinstance(element, Method):
            entries.append((signature.get(name, name + element.getSignatureString()), prose(element.getDoc())))
        else:
            entries.append((f"{name}: {types[name]}" if name in types else name, prose(element.getDoc())))
    return section(iface.__name__, prose(iface.getDoc()), definitions(entries), id=f"interface-{iface.__name__}")


def value(cls: type) -> nodes.section:
    definition = class_source(cls, cls.__module__, cls.__name__)
    entries: list[tuple[str, list[nodes.Node]]] = []
    if issubclass(cls, enum.Enum):
        entries = [(f"{member.name} = {member.value!r}", []) for member in cls]
    else:
        entries = [(f"{name}: {kind}", prose(doc)) for name, kind, doc in attributes(definition)]
    for name, signature in signatures(definition).items():
        if not name.startswith("_"):
            entries.append((signature, prose(getattr(cls, name).__doc__)))
    doc = (
        cls.__doc__
        if not (dataclasses.is_dataclass(cls) and (cls.__doc__ or "").startswith(cls.__name__ + "("))
        else ""
    )
    return section(cls.__name__, prose(doc), definitions(entries), id=f"value-{cls.__name__}")


def scenario_table(model: type[BaseModel], *without: object) -> list[nodes.Node]:
    """The options of a model of scenario files and of those in it, none of which is live; some may be left out."""
    found = [row for row in rows(model) if row.name not in without]
    if not found:
        return [nodes.paragraph(text="No options.")]

    def cells(row: Row) -> list[list[nodes.Node]]:
        default: nodes.Node = nodes.literal(row.default, row.default)
        if row.default in ("", "null"):
            default = nodes.Text("unset" if row.default else "needed")
        elif row.type.startswith("mapping: see") or row.type == "link or latency":
            default = nodes.Text("its defaults")
        kind = row.type.replace(" or null", "")
        return [[nodes.literal(row.name, row.name)], [nodes.Text(kind)], [default], inline(row.description)]

    out: list[nodes.Node] = [table(["Key", "Type", "Default", "What it does"], map(cells, found), [20, 20, 15, 45])]
    for nested in nested_models(model):
        if nested not in without:
            title = nodes.paragraph("", "", nodes.strong(text=nested.__name__))
            out += [title, *prose(nested.__doc__), *scenario_table(nested)]
    return out


def config_table(model: type[BaseModel]) -> list[nodes.Node]:
    found = list(rows(model))
    if not found:
        return [nodes.paragraph(text="No options.")]

    def cells(row: Row) -> list[list[nodes.Node]]:
        return [
            [nodes.literal(row.name, row.name)],
            [nodes.Text(row.type)],
            [nodes.literal(row.default, row.default)] if row.default else [nodes.Text("needed")],
            inline(row.description),
            [nodes.Text("yes" if row.live else "")],
        ]

    out: list[nodes.Node] = [
        table(["Option", "Type", "Default", "What it does", "Live"], map(cells, found), [20, 15, 15, 45, 5])
    ]
    for nested in nested_models(model):
        out += [
            nodes.paragraph("", "", nodes.strong(text=nested.__name__)),
            *prose(nested.__doc__),
            *config_table(nested),
        ]
    return out


class Generated(SphinxDirective):
    """What all of these share: the page is rebuilt whenever it is asked for, because the code may have changed."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        return list(self.generate())

    def generate(self) -> Iterator[nodes.Node]:
        raise NotImplementedError

    def warn(self, text: str) -> None:
        LOG.warning(text, location=self.get_location())


class Seams(Generated):
    """`{seams}`: every interface that a kind of plugin implements, by kind."""

    def generate(self) -> Iterator[nodes.Node]:
        for interfaces in SEAMS.values():
            yield from map(interface, interfaces)


class Provided(Generated):
    """`{provided}`: the interfaces on the page p2pframe.interfaces that are no seam: what core gives to plugins."""

    def generate(self) -> Iterator[nodes.Node]:
        page = import_module("p2pframe.interfaces")
        seams = {iface for interfaces in SEAMS.values() for iface in interfaces}
        for name in sorted(page.__all__):
            found = getattr(page, name)
            if isinstance(found, InterfaceClass) and found not in seams:
                yield interface(found)


class PageValues(Generated):
    """`{page-values}`: what the interfaces of the page p2pframe.interfaces take and give, beside p2pframe.model."""

    def generate(self) -> Iterator[nodes.Node]:
        page = import_module("p2pframe.interfaces")
        for name in sorted(page.__all__):
            found = getattr(page, name)
            if inspect.isclass(found):
                yield value(found)


class Values(Generated):
    """`{values} module`: the public classes that a module defines."""

    required_arguments = 1

    def generate(self) -> Iterator[nodes.Node]:
        module = import_module(self.arguments[0])
        for name, found in vars(module).items():
            if inspect.isclass(found) and found.__module__ == module.__name__ and not name.startswith("_"):
                yield value(found)


class ConfigModel(Generated):
    """`{config-model} module:Class`: the options of a config model."""

    required_arguments = 1

    def generate(self) -> Iterator[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        model = getattr(import_module(module), name)
        yield from prose(model.__doc__)
        yield from config_table(model)


class ScenarioPart(Generated):
    """`{scenario-part} module:Class`: the options of a model of scenario files, where nothing changes while it runs."""

    required_arguments = 1

    def generate(self) -> Iterator[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        yield from scenario_table(getattr(import_module(module), name))


class Faults(Generated):
    """`{faults}`: what an entry of a scenario's timeline can do, each with its options."""

    def generate(self) -> Iterator[nodes.Node]:
        from p2pframe.sim.faults import FAULTS, HostsConfig

        for word, model in FAULTS.items():
            body = scenario_table(model, "do", HostsConfig)
            yield section(f"`do: {word}`", prose(model.__doc__), body, id=f"fault-{word}")


class MeasureOptions(Generated):
    """`{measure} name`: what a measure says of itself, and its options."""

    required_arguments = 1

    def generate(self) -> Iterator[nodes.Node]:
        from p2pframe.sim.measures import MEASURES

        measure = MEASURES[self.arguments[0]]
        yield from prose(measure.__doc__)
        yield from scenario_table(measure.config)


class Plugins(Generated):
    """`{plugins}`: the plugins that come with the package: by kind, with what they do and their options."""

    option_spec = {"group": directives.unchanged}

    def generate(self) -> Iterator[nodes.Node]:
        group = self.options.get("group", "p2pframe.plugins")
        points = [p for p in entry_points(group=group) if p.dist is not None and p.dist.name == "p2pframe"]
        if not points:
            self.warn(f"no entry point in {group}: is p2pframe installed?")
        for kind in SEAMS:
            of_kind = sorted((p for p in points if p.name.partition(".")[0] == kind), key=lambda p: p.name)
            made = []
            for point in of_kind:
                try:
                    cls = point.load()
                    spec = cls.__p2pframe_plugin__
                except (ImportError, AttributeError) as error:
                    self.warn(f"plugin {point.name} ({point.value}): {error}")
                    continue
                made.append(
                    section(f"{kind}: `{spec.name}`", prose(cls.__doc__), config_table(spec.config), id=point.name)
                )
            yield from made


class CommandLine(Generated):
    """`{command-line}`: the help texts of `p2pframe` and of `twistd p2pnode`, as the programs print them."""

    def generate(self) -> Iterator[nodes.Node]:
        import click

        from p2pframe.cli import main
        from p2pframe.tap import Options

        def block(command: click.Command, context: click.Context) -> nodes.Node:
            text = command.get_help(context)
            return nodes.literal_block(text, text)

        options = Options()
        options.getSynopsis = lambda: "Usage: twistd [options of twistd] p2pnode [options]\n"
        text = str(options).strip()
        yield section("`twistd p2pnode`", [nodes.literal_block(text, text)], id="twistd-p2pnode")
        root = click.Context(main, info_name="p2pframe")
        yield section("`p2pframe`", [block(main, root)], id="command-p2pframe")
        for name, command in sorted(getattr(main, "commands", {}).items()):
            context = click.Context(command, info_name=name, parent=root)
            yield section(f"`p2pframe {name}`", [block(command, context)], id=f"command-{name}")
            if isinstance(command, click.Group):
                for inner in command.list_commands(context):
                    nested = command.commands[inner]
                    body = block(nested, click.Context(nested, info_name=inner, parent=context))
                    yield section(f"`p2pframe {name} {inner}`", [body], id=f"command-{name}-{inner}")


class HttpApi(Generated):
    """`{http-api}`: what the admin's API answers and takes, out of its OpenAPI document."""

    def generate(self) -> Iterator[nodes.Node]:
        import json

        from admin_routes import admin_routes

        from p2pframe.admin.openapi import document

        described = json.loads(document(admin_routes(), ""))
        yield from prose(described["info"]["description"])
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                title = f"{method.upper()} {path}"
                yield section(f"`{title}`", self.operation(operation), id=f"api-{operation['operationId']}")
        yield nodes.rubric(text="Values")
        for name, schema in sorted(described["components"]["schemas"].items()):
            yield section(name, prose(schema.get("description", "")), self.fields(schema), id=f"api-value-{name}")

    def operation(self, operation: dict[str, Any]) -> Iterator[nodes.Node]:
        yield nodes.paragraph(text=f"{operation['summary']} Role: {operation['x-role'] or 'none is needed'}.")
        rows = [
            [[nodes.literal(text=one["name"])], [nodes.Text(one["in"])], [nodes.Text(shape(one["schema"]))]]
            for one in operation.get("parameters", [])
        ]
        if rows:
            yield table(["Parameter", "In", "Type"], rows, [30, 20, 50])
        if "requestBody" in operation:
            yield nodes.paragraph(text=f"Takes {content(operation['requestBody'])}.")
        good = [code for code in operation["responses"] if code < "300"]
        refusals = [code for code in operation["responses"] if code >= "300"]
        answers = ", ".join(f"{code} with {content(operation['responses'][code]) or 'nothing'}" for code in good)
        yield nodes.paragraph(text=f"Answers {answers}; refuses with {', '.join(refusals)}.")

    def fields(self, schema: dict[str, Any]) -> list[nodes.Node]:
        needed = schema.get("required", [])
        rows = [
            [
                [nodes.literal(text=name)],
                [nodes.Text(shape(one))],
                [nodes.Text("yes" if name in needed else "")],
            ]
            for name, one in schema.get("properties", {}).items()
        ]
        return [table(["Field", "Type", "Always"], rows, [30, 55, 15])] if rows else []


def shape(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(shape, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "any")
    if kind == "array":
        if "prefixItems" in schema:
            return "list of " + " and ".join(map(shape, schema["prefixItems"]))
        return f"list of {shape(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of {shape(inner)}" if isinstance(inner, dict) else "mapping"
    words = {"minimum": "at least", "exclusiveMinimum": "over", "maximum": "at most", "maxLength": "of length at most"}
    bounds = [f"{word} {schema[name]:g}" for name, word in words.items() if name in schema]
    return " ".join([str(kind), *[", ".join(bounds)] * bool(bounds)])


def content(part: dict[str, Any]) -> str:
    """What a body or an answer is: its model, or its media type."""
    return ", ".join(
        shape(one["schema"]) if "$ref" in one["schema"] else kind for kind, one in part.get("content", {}).items()
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("http-api", HttpApi)
    app.add_directive("seams", Seams)
    app.add_directive("provided", Provided)
    app.add_directive("page-values", PageValues)
    app.add_directive("values", Values)
    app.add_directive("config-model", ConfigModel)
    app.add_directive("scenario-part", ScenarioPart)
    app.add_directive("faults", Faults)
    app.add_directive("measure", MeasureOptions)
    app.add_directive("plugins", Plugins)
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
