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
        ("3,12,12;", ((3, 12, 12), ())),
        (";3,12,12; ", ((), (3, 12, 12), ())),
    ],
)
def test_shapes_as_users_write_them(text, shapes):
    assert parse_input_shape(text) == shapes


@pytest.mark.parametrize("text", ["", "3,-1", "3,0", "a,b", "3,,4", ";", "1.5"])
def test_bad_shape_text_says_how_to_write_it(text):
    with pytest.raises(HandOverError, match="3,224,224"):
        parse_input_shape(text)


def test_one_shape_or_several():
    assert normalize_shapes((3, 8, 8)) == ((3, 8, 8),)
    assert normalize_shapes([[3, 8, 8], [4]]) == ((3, 8, 8), (4,))
    assert normalize_shapes([[3, 8, 8], []]) == ((3, 8, 8), ())


@pytest.mark.parametrize("shape", [(), (3, 0), (True, 3), [[], []], ["3"], [3, [4]]])
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


class Diffusion(nn.Module):
    """Reads a picture, a time step, a label and tokens; the last two are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.labels, self.tokens = nn.Embedding(10, 4), nn.Embedding(30, 4)
        self.image = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("table", torch.randn(6, 4))

    def forward(self, x, t, label, tokens, row):
        hidden = self.image(x) * t.sin()[:, None, None, None]
        said = self.labels(label) + self.tokens(tokens.reshape(len(x), -1)).mean(1)
        return hidden + (said + self.table[row])[:, :, None, None]


def test_integers_only_for_inputs_that_are_looked_up():
    shapes = [(3, 8, 8), (), (), (2, 5), ()]
    x, t, label, tokens, row = make_example_inputs(shapes, batch=64, module=Diffusion())
    assert x.dtype == t.dtype == torch.float32
    assert [int(i.max()) for i in (label, tokens, row)] == [9, 29, 5]
    assert all(i.dtype == torch.int64 for i in (label, tokens, row))


def test_a_module_that_fails_on_its_inputs_gets_plain_ones():
    (x,) = make_example_inputs([(5,)], module=nn.Sequential(nn.Linear(4, 2), nn.Embedding(3, 2)))
    assert x.dtype == torch.float32
