#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Validates a JSON document against a JSON Schema (draft 2020-12), with the standard library only.

usage: validate_json.py SCHEMA DOCUMENT     ("-": standard input)

Supports the keywords in KEYWORDS below, references within the schema, and the annotations; any other keyword is an
error, so that a schema never passes for stricter than it is. Prints `path: why` for each fault and exits 1 if there is one.
"""
import json
import re
import sys

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}
KEYWORDS = {
    "$ref", "anyOf", "type", "const", "enum", "required", "properties", "additionalProperties",
    "unevaluatedProperties", "items", "minItems", "minimum", "maximum", "exclusiveMinimum", "minLength", "pattern",
}


class SchemaError(Exception):
    """The schema itself is wrong or uses what is not supported."""


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": is_number,
    "integer": lambda value: is_number(value) and float(value).is_integer(),
}


def resolve(root, reference):
    if not reference.startswith("#/"):
        raise SchemaError(f"reference '{reference}' leaves the schema")
    node = root
    for part in reference[2:].split("/"):
        if part not in node:
            raise SchemaError(f"reference '{reference}' leads nowhere")
        node = node[part]
    return node


def same(left, right):
    """Equality in the sense of JSON: 1 is 1.0, and true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def types_of(schema):
    wanted = schema["type"]
    wanted = wanted if isinstance(wanted, list) else [wanted]
    for name in wanted:
        if name not in TYPES:
            raise SchemaError(f"unknown type '{name}'")
    return wanted


def scalar_faults(schema, value, path):
    if "type" in schema and not any(TYPES[name](value) for name in types_of(schema)):
        yield f"{path}: {json.dumps(value)} is not of type {' or '.join(types_of(schema))}"
    if "const" in schema and not same(value, schema["const"]):
        yield f"{path}: {json.dumps(value)} is not {json.dumps(schema['const'])}"
    if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
        yield f"{path}: {json.dumps(value)} is none of {json.dumps(schema['enum'])}"
    if is_number(value):
        if "minimum" in schema and value < schema["minimum"]:
            yield f"{path}: {value} is below {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            yield f"{path}: {value} is above {schema['maximum']}"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            yield f"{path}: {value} is not above {schema['exclusiveMinimum']}"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{path}: '{value}' is shorter than {schema['minLength']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: '{value}' does not match {schema['pattern']}"


def validate(root, schema, value, path="$"):
    """Returns (faults, names of the properties of `value` that the schema has looked at)."""
    unknown = set(schema) - KEYWORDS - ANNOTATIONS
    if unknown:
        raise SchemaError(f"unsupported keyword '{sorted(unknown)[0]}' in the schema of {path}")
    faults = list(scalar_faults(schema, value, path))
    seen = set()
    if "$ref" in schema:
        inner, names = validate(root, resolve(root, schema["$ref"]), value, path)
        faults += inner
        seen |= names
    if "anyOf" in schema:
        attempts = [validate(root, choice, value, path) for choice in schema["anyOf"]]
        matching = [names for inner, names in attempts if not inner]
        if not matching:
            faults.append(f"{path}: {json.dumps(value)} matches none of anyOf: "
                          + "; ".join(inner[0] for inner, _ in attempts))
        seen |= set().union(*matching)
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                faults.append(f"{path}: '{name}' is missing")
        properties = schema.get("properties", {})
        for name, item in value.items():
            if name in properties:
                inner, _ = validate(root, properties[name], item, f"{path}.{name}")
                faults += inner
                seen.add(name)
            elif schema.get("additionalProperties") is False:
                faults.append(f"{path}: '{name}' is not allowed")
            if schema.get("unevaluatedProperties") is False and name not in seen:
                faults.append(f"{path}: '{name}' is not allowed")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            faults.append(f"{path}: {len(value)} items, and at least {schema['minItems']} are needed")
        for index, item in enumerate(value):
            if "items" in schema:
                faults += validate(root, schema["items"], item, f"{path}[{index}]")[0]
    return faults, seen


def faults_of(schema, document):
    """All faults of a document. Raises SchemaError for a schema that cannot be used."""
    return validate(schema, schema, document)[0]


def no_constant(text):
    raise ValueError(f"{text} is not JSON")


def load(path):
    if path == "-":
        return json.load(sys.stdin, parse_constant=no_constant)
    with open(path, encoding="utf-8") as file:
        return json.load(file, parse_constant=no_constant)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        faults = faults_of(load(sys.argv[1]), load(sys.argv[2]))
    except (SchemaError, ValueError, OSError) as error:
        sys.exit(f"validate_json.py: {error}")
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
