import pytest
import torch

from compressc.datasets.opening import open_task
from compressc.errors import DataError
from compressc.tasks.classification import ClassificationTask

CODE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def part(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 4, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long())

def loaders():
    return {
        "train": DataLoader(part(0), 8, shuffle=True),
        "val": DataLoader(part(1), 8),
        "test": DataLoader(part(2), 8),
    }

def three():
    return tuple(loaders().values())

def nothing():
    return None

def broken():
    raise RuntimeError("no disk")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "my_data_of_the_user.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


class Sign(torch.nn.Module):
    def __init__(self, right: bool) -> None:
        super().__init__()
        self.sign = torch.nn.Parameter(torch.tensor(1.0 if right else -1.0))

    def forward(self, x):
        return torch.stack([-x[:, 0], x[:, 0]], 1) * self.sign


@pytest.mark.parametrize("name", ["loaders", "three"])
def test_data_loaders_make_a_classification_task(name):
    task = open_task(f"my_data_of_the_user:{name}")
    assert task.evaluate(Sign(True)) == 100
    assert task.validate(Sign(False)) == 0
    assert sum(len(x) for (x,) in task.calibration_batches(30, 0)) == 30
    first = [targets for _, targets in task.train_batches(0, 5)]
    state = torch.get_rng_state()
    again = [targets for _, targets in task.train_batches(0, 5)]
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert torch.equal(state, torch.get_rng_state())
    other = [targets for _, targets in task.train_batches(1, 5)]
    assert not torch.equal(torch.cat(first), torch.cat(other))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_data_of_the_user:nothing", "returned NoneType"),
        ("my_data_of_the_user:broken", "RuntimeError: no disk"),
        ("my_data_of_the_user:absent", "absent"),
        ("no_such_module_at_all:task", "no_such_module_at_all"),
    ],
)
def test_factories_that_do_not_work(name, message):
    with pytest.raises(DataError, match=message):
        open_task(name)


def test_a_factory_may_return_any_task(tmp_path, make_images, monkeypatch):
    folder = make_images(count=20)
    code = (
        "from compressc.datasets.opening import open_task",
        f"made = open_task({str(folder)!r})",
    )
    (tmp_path / "my_other_data.py").write_text("\n".join([*code, "def task(): return made"]))
    assert isinstance(open_task("my_other_data:task"), ClassificationTask)
