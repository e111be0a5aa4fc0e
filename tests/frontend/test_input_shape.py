import pytest
import torch
from torch import nn

from compressc.errors import HandOverError
from compressc.frontend.input_shape import (
    infer_input_shape,
    make_example_inputs,
    normalize_shapes,
    parse_input_shape,
)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("3,224,224", ((3, 224, 224),)),
        ("3x32x32", ((3, 32, 32),)),
        (" (3, 8, 8) ; 16", ((3, 8, 8), (16,))),
        ("784", ((784,),)),
    ],
)
def test_shapes_as_users_write_them(text, shapes):
    assert parse_input_shape(text) == shapes


@pytest.mark.parametrize("text", ["", "3,-1", "3,0", "a,b", "3,,4", "3,4;", "1.5"])
def test_bad_shape_text_says_how_to_write_it(text):
    with pytest.raises(HandOverError, match="3,224,224"):
        parse_input_shape(text)


def test_one_shape_or_several():
    assert normalize_shapes((3, 8, 8)) == ((3, 8, 8),)
    assert normalize_shapes([[3, 8, 8], [4]]) == ((3, 8, 8), (4,))


@pytest.mark.parametrize("shape", [(), (3, 0), (True, 3), [[3], []], ["3"], [3, [4]]])
def test_bad_shape_is_refused(shape):
    with pytest.raises(HandOverError):
        normalize_shapes(shape)


def test_first_linear_layer_tells_its_input():
    assert infer_input_shape(nn.Sequential(nn.Flatten(), nn.Linear(30, 4))) == ((30,),)


def test_module_may_carry_its_shape():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model.default_cfg = {"input_size": (3, 96, 96)}
    assert infer_input_shape(model) == ((3, 96, 96),)
    model.input_shape = (3, 64, 64)
    assert infer_input_shape(model) == ((3, 64, 64),)


def test_convolution_asks_for_the_size_with_its_channels():
    with pytest.raises(HandOverError, match=r"--input-shape 5,224,224"):
        infer_input_shape(nn.Sequential(nn.Conv2d(5, 4, 3)))


def test_inputs_are_seeded():
    (first,), (again,) = (make_example_inputs([(3, 8)], seed=1) for _ in range(2))
    (other,) = make_example_inputs([(3, 8)], seed=2)
    assert first.shape == (2, 3, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_embedding_gets_indices_in_range():
    (tokens,) = make_example_inputs([(50,)], module=nn.Sequential(nn.Embedding(7, 4)))
    assert tokens.dtype == torch.int64
    assert tokens.shape == (2, 50)
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) == 6


def test_double_model_gets_double_inputs():
    (x,) = make_example_inputs([(4,)], module=nn.Linear(4, 2).double())
    assert x.dtype == torch.float64


def test_batch_below_one_is_refused():
    with pytest.raises(HandOverError, match="batch 0"):
        make_example_inputs([(3,)], batch=0)
