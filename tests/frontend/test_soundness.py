import pytest
import torch
from torch import nn

from compressc.errors import HandOverError
from compressc.frontend.soundness import check_state


def state(**tensors):
    return list(tensors.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_finite_weights_pass(dtype):
    big = torch.full((8,), torch.finfo(dtype).max, dtype=dtype)
    counter = torch.tensor(3)
    check_state(state(a=nn.Parameter(big), b=-big, num_batches_tracked=counter))


def test_attention_mask_passes():
    mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), float("-inf"))
    check_state(state(mask=mask, index=torch.arange(4)))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.tensor([1.0, float("nan"), 2.0]), "holds 1 NaN of 3"),
        (nn.Parameter(torch.tensor([1.0, float("-inf")])), "holds 1 infinite of 2"),
        (torch.tensor([float("inf")]), "infinite"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
        (nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False), "integer"),
        (torch.ones(2, 2).to_sparse(), "sparse_coo"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.ones(2).to(torch.float8_e4m3fn), "float8"),
    ],
)
def test_bad_tensor_is_named(bad, words):
    with pytest.raises(HandOverError, match=f"'layer.bad'.*{words}"):
        check_state([("fine", torch.ones(2)), ("layer.bad", bad)])


def test_model_of_integers_only_is_refused():
    with pytest.raises(HandOverError, match="integer model: 'table'"):
        check_state(state(table=torch.arange(4)))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_tensor_is_refused():
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with pytest.raises(HandOverError, match="'w' is quantized"):
        check_state(state(w=quantized))
