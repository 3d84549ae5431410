"""Reads the templates as data. Intrinsic functions become dictionaries, as in JSON templates."""

import pathlib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "cloudformation"


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation, such as `!Ref`."""


def _intrinsic(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)
# Dates, such as the version of a policy, stay text.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(name):
    """The template with this file name."""
    return yaml.load((FOLDER / name).read_text(encoding="utf-8"), Loader=Loader)


def names():
    """The file names of all templates."""
    return sorted(path.name for path in FOLDER.glob("*.yaml"))


def resources(template, resource_type):
    """The names and properties of the resources of this type."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == resource_type:
            yield name, resource.get("Properties", {})


def properties(template, logical_id):
    """The properties of one resource."""
    return template["Resources"][logical_id]["Properties"]


def walk(value):
    """The value itself, and every value inside it."""
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from walk(child)


def statements(template):
    """The name of the resource and the statement, for every policy statement."""
    for name, resource in template["Resources"].items():
        for value in walk(resource):
            if isinstance(value, dict) and "Effect" in value:
                yield name, value


def actions(statement):
    """The actions of a statement as a list."""
    listed = statement.get("Action", [])
    return [listed] if isinstance(listed, str) else listed
