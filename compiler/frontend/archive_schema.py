"""The program description inside a ``.pt2``: every value checked against torch's own schema.

torch reads this JSON without checking types, evaluates some of its strings (sizes), resolves others
to functions (operators), imports modules that others name (tree specs) and writes names into
Python code that it then runs. Here each field has a rule; what is not needed is dropped, and only
what was checked is written out again.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from torch._export.serde import schema

from compressc.errors import HandOverError
from compressc.frontend.operator_names import check_operator
from compressc.frontend.symbolic_grammar import check_expression, check_symbol

_IDENTIFIER = re.compile(r"([A-Za-z_]\w*)?", re.ASCII)
# Names of parameters become attribute paths in generated code: no quotes, brackets or line ends.
_DOTTED_NAME = re.compile(r"[\w.\-+/ ]{0,300}", re.ASCII)
_TREE_KEY = re.compile(r"[\w.\-/ ]{1,200}", re.ASCII)
_MODULE_STACK = re.compile(r"[\w.,;()\[\]'@<>/+ \-]*", re.ASCII)
_FLOAT_WORDS = ("Infinity", "-Infinity")
_MAX_TEXT = 10_000
_TREE_TYPES = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


def check_program(text: bytes) -> bytes:
    """Return the JSON of an exported program with every value checked.

    Raises:
        HandOverError: if the JSON is damaged, does not follow torch's schema, or holds anything
            that would run code when loaded.
    """
    return json.dumps(_conform_json(schema.ExportedProgram, text, "program")).encode()


def check_payloads(text: bytes) -> dict[str, Any]:
    """Return the table of weights or constants: name to its stored form, every value checked.

    Raises:
        HandOverError: as :func:`check_program`.
    """
    table = _conform_json(schema.PayloadConfig, text, "weights")
    payloads: dict[str, Any] = table["config"]
    return payloads


def parse_json(text: bytes) -> Any:
    """Return the value of strict JSON: no NaN, no invalid text.

    Raises:
        HandOverError: if the JSON is damaged.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HandOverError("the program description is damaged (not readable as JSON)") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _conform_json(kind: Any, text: bytes, where: str) -> Any:
    try:
        return _conform(kind, parse_json(text), where)
    except RecursionError as error:
        raise HandOverError("the program description is nested too deeply") from error


def _conform(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the schema type ``kind`` has it, or raise."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _conform(inner, value, where)
    if origin is list and isinstance(value, list):
        return [_conform(arguments[0], item, where) for item in value]
    if origin is dict and isinstance(value, dict):
        return {
            _key(key, where): _conform(arguments[1], item, where) for key, item in value.items()
        }
    if isinstance(kind, type):
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return _conform_record(kind, value, where)
        if kind is str and isinstance(value, str):
            return _identifier(value, where)
        if kind is float and (type(value) in (int, float) or value in _FLOAT_WORDS):
            return value
        if issubclass(kind, IntEnum) and type(value) is int and value in list(kind):
            return value
        if kind in (int, bool) and type(value) is kind:
            return value
    raise HandOverError(f"the program description is malformed at {where} ({_shown(value)})")


def _conform_record(kind: type, value: dict[str, Any], where: str) -> dict[str, Any]:
    hints = _hints(kind)
    if _is_union(kind) and (len(value) != 1 or not value.keys() <= hints.keys()):
        raise HandOverError(f"the program description is malformed at {where} ({_shown(value)})")
    absent = set() if _is_union(kind) else _required(kind) - value.keys()
    if absent:
        raise HandOverError(f"the program description lacks {kind.__name__}.{min(absent)}")
    result: dict[str, Any] = {}
    # Fields that the schema does not know are dropped, as torch does.
    for name, hint in hints.items():
        if name in value:
            place = f"{kind.__name__}.{name}"
            rule = _RULES.get(place)
            result[name] = rule(value[name], place) if rule else _conform(hint, value[name], place)
    return result


def _is_union(kind: type) -> bool:
    union: type = vars(schema)["_Union"]
    return issubclass(kind, union)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(kind)]
    hints = typing.get_type_hints(kind, globalns=vars(schema))
    return {name: hints[name] for name in names}


@functools.cache
def _required(kind: Any) -> frozenset[str]:
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return frozenset(
        f.name for f in fields if f.default is missing and f.default_factory is missing
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise HandOverError(f"the program description is malformed at {where} ({_shown(value)})")
    return value


def _identifier(value: Any, where: str) -> str:
    if not _IDENTIFIER.fullmatch(_text(value, where)):
        raise HandOverError(f"{where} {_shown(value)} is not a plain name")
    return str(value)


def _key(value: Any, where: str) -> str:
    if not _DOTTED_NAME.fullmatch(_text(value, where)):
        raise HandOverError(f"a name in {where} is not plain: {_shown(value)}")
    return str(value)


def _keyed_by_identifier(kind: Any) -> Callable[[Any, str], Any]:
    def rule(value: Any, where: str) -> Any:
        conformed = _conform(kind, value, where)
        return {_identifier(key, where): item for key, item in conformed.items()}

    return rule


def _symbol_ranges(value: Any, where: str) -> Any:
    ranges = _conform(dict[str, schema.RangeConstraint], value, where)
    return {check_symbol(key): item for key, item in ranges.items()}


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise HandOverError(f"the program description is malformed at {where} ({_shown(value)})")
    return [_text(item, where) for item in value]


def _device(value: Any, where: str) -> dict[str, Any]:
    _conform_record(schema.Device, value if isinstance(value, dict) else {"type": value}, where)
    return {"type": "cpu", "index": None}


def _metadata(value: Any, where: str) -> dict[str, str]:
    """Keep the layer that a node comes from; the rest is for debugging, and torch acts on it."""
    stack = value.get("nn_module_stack") if isinstance(value, dict) else None
    if stack is None:
        return {}
    if not _MODULE_STACK.fullmatch(_text(stack, where)):
        return {}
    return {"nn_module_stack": stack}


def _refuse_object(_value: Any, _where: str) -> Any:
    raise HandOverError(
        "the program holds a custom object, which cannot be read without running code from the "
        "file; export the model without it"
    )


def _tree_spec(keys: re.Pattern[str]) -> Callable[[Any, str], str]:
    def rule(value: Any, where: str) -> str:
        parsed = parse_json(_text(value, where).encode())
        if not (isinstance(parsed, list) and len(parsed) == 2 and parsed[0] == 1):
            raise HandOverError(f"the program description is malformed at {where}")
        return json.dumps([1, _tree(parsed[1], keys, where)])

    return rule


def _tree(node: Any, keys: re.Pattern[str], where: str) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("children_spec"), list):
        raise HandOverError(f"the program description is malformed at {where}")
    kind, context = node.get("type"), node.get("context")
    if kind is not None and kind not in _TREE_TYPES:
        raise HandOverError(
            f"the model takes or returns a {_shown(kind)}; export one that takes and returns "
            "tensors in tuples, lists or dicts"
        )
    if context is not None:
        names = parse_json(_text(context, where).encode())
        fits = names is None or (
            isinstance(names, list)
            and all(isinstance(n, str) and keys.fullmatch(n) is not None for n in names)
        )
        if not fits:
            raise HandOverError(f"{where} has keys that are not plain names: {_shown(names)}")
        context = json.dumps(names)
    children = [_tree(child, keys, where) for child in node["children_spec"]]
    return {"type": kind, "context": context, "children_spec": children}


_RULES: dict[str, Callable[[Any, str], Any]] = {
    "SymExpr.expr_str": lambda value, where: check_expression(_text(value, where)),
    "Node.target": lambda value, where: check_operator(_text(value, where)),
    "Argument.as_operator": lambda value, where: check_operator(_text(value, where)),
    "Argument.as_string": _text,
    "Argument.as_strings": _texts,
    "Argument.as_device": _device,
    "Argument.as_custom_obj": _refuse_object,
    "ConstantValue.as_string": _text,
    "TensorMeta.device": _device,
    "InputSpec.custom_obj": _refuse_object,
    "Node.metadata": _metadata,
    "InputToParameterSpec.parameter_name": _key,
    "InputToBufferSpec.buffer_name": _key,
    "InputToTensorConstantSpec.tensor_constant_name": _key,
    "BufferMutationSpec.buffer_name": _key,
    "ParameterMutationSpec.parameter_name": _key,
    "GradientToParameterSpec.parameter_name": _key,
    "ModuleCallEntry.fqn": _key,
    "ModuleCallSignature.in_spec": _tree_spec(_IDENTIFIER),
    "ModuleCallSignature.out_spec": _tree_spec(_TREE_KEY),
    "Graph.tensor_values": _keyed_by_identifier(dict[str, schema.TensorMeta]),
    "Graph.sym_int_values": _keyed_by_identifier(dict[str, schema.SymInt]),
    "Graph.sym_float_values": _keyed_by_identifier(dict[str, schema.SymFloat]),
    "Graph.sym_bool_values": _keyed_by_identifier(dict[str, schema.SymBool]),
    "Graph.custom_obj_values": lambda value, where: _refuse_object(value, where) if value else {},
    "GraphModule.metadata": lambda _value, _where: {},
    "GraphModule.treespec_namedtuple_fields": lambda _value, _where: {},
    "ExportedProgram.range_constraints": _symbol_ranges,
    "ExportedProgram.torch_version": lambda _value, _where: "",
    # Guards are Python code; the shapes they check are checked again by the capture.
    "ExportedProgram.guards_code": lambda _value, _where: [],
    "PayloadMeta.path_name": _identifier,
}
