"""The names users import."""

import inspect

import compressc


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in compressc.__all__:
        found = getattr(compressc, name)
        assert inspect.getdoc(found), f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(compressc, "prune")


def test_public_functions_are_fully_annotated() -> None:
    for name in compressc.__all__:
        found = getattr(compressc, name)
        if inspect.isfunction(found):
            signature = inspect.signature(found)
            assert signature.return_annotation is not inspect.Signature.empty
            for parameter in signature.parameters.values():
                assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter})"
