# SPDX-License-Identifier: Apache-2.0
"""Checks a value against a JSON schema (2020-12), as far as openapi.json uses
it.  A keyword that is not known here is a failure, so that none goes unread."""
import datetime
import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
         "integer": int}
SAY_NOTHING = {"description", "default", "examples"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def resolve(document, ref):
    at = document
    assert ref.startswith("#/"), ref
    for part in ref[2:].split("/"):
        at = at[part]
    return at


def resolved(document, node):
    """What a reference stands for; anything else is itself."""
    return resolve(document, node["$ref"]) if "$ref" in node else node


def _is_of(value, type_):
    if type_ == "integer" and isinstance(value, bool):
        return False
    return isinstance(value, TYPES[type_])


def _type(_, value, types, __):
    types = [types] if isinstance(types, str) else types
    if not any(_is_of(value, t) for t in types):
        yield f"is not {' or '.join(types)}"


def _properties(document, value, properties, _):
    for name in set(properties) & set(value if isinstance(value, dict) else ()):
        for fault in faults(document, value[name], properties[name]):
            yield f".{name} {fault}"


def _additional(document, value, more, schema):
    for name in set(value if isinstance(value, dict) else ()) - set(schema.get("properties", ())):
        if more is False:
            yield f".{name} is not described"
        elif more is not True:
            for fault in faults(document, value[name], more):
                yield f".{name} {fault}"


def _required(_, value, names, __):
    for name in names if isinstance(value, dict) else ():
        if name not in value:
            yield f".{name} is missing"


def _items(document, value, schema, _):
    for i, item in enumerate(value if isinstance(value, list) else ()):
        for fault in faults(document, item, schema):
            yield f"[{i}] {fault}"


def _all_of(document, value, schemas, _):
    for schema in schemas:
        yield from faults(document, value, schema)


def _one_of(document, value, schemas, _):
    found = [list(faults(document, value, s)) for s in schemas]
    if sum(not f for f in found) != 1:
        yield f"fits {sum(not f for f in found)} of {len(schemas)} forms: {found}"


def _format(_, value, name, __):
    assert name == "date-time", name
    if not TIME.fullmatch(value):
        yield f"is no time with milliseconds in UTC: {value}"
    else:
        datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")


def _number(test):
    return lambda _, value, bound, __: () if not _is_of(value, "integer") or test(value, bound) \
        else (f"is out of bounds: {value}",)


def _size(type_, test):
    return lambda _, value, bound, __: () if not isinstance(value, type_) or \
        test(len(value), bound) else (f"has {len(value)} parts",)


KEYWORDS = {
    "type": _type, "properties": _properties, "additionalProperties": _additional,
    "required": _required, "items": _items, "allOf": _all_of, "oneOf": _one_of, "format": _format,
    "$ref": lambda d, v, ref, _: faults(d, v, resolve(d, ref)),
    "enum": lambda _, v, values, __: () if v in values else (f"is none of {values}: {v!r}",),
    "const": lambda _, v, value, __: () if v == value else (f"is not {value!r}: {v!r}",),
    "pattern": lambda _, v, p, __: () if not isinstance(v, str) or re.search(p, v)
    else (f"does not match {p}: {v!r}",),
    "minimum": _number(lambda v, bound: v >= bound),
    "maximum": _number(lambda v, bound: v <= bound),
    "minItems": _size(list, lambda n, bound: n >= bound),
    "maxItems": _size(list, lambda n, bound: n <= bound),
    "minLength": _size(str, lambda n, bound: n >= bound),
    "maxLength": _size(str, lambda n, bound: n <= bound),
    "maxProperties": _size(dict, lambda n, bound: n <= bound),
    "uniqueItems": lambda _, v, unique, __: () if len(v) == len({str(i) for i in v})
    else ("has equal items",),
}


def faults(document, value, schema):
    """What is wrong with the value, each with its place."""
    for keyword, argument in schema.items():
        if keyword not in SAY_NOTHING:
            yield from KEYWORDS[keyword](document, value, argument, schema)


def check(document, value, schema, what):
    found = list(faults(document, value, schema))
    assert not found, f"{what}: {found[:6]}: {str(value)[:600]}"
