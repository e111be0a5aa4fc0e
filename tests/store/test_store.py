"""What the store keeps comes back whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from compressc.errors import OutputError
from compressc.store.records import Record, pack_state, unpack_state
from compressc.store.store import Store

OURS, THEIRS = "a" * 64, "b" * 64


def test_content_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder", OURS)
    assert (store.has("result"), store.load("result")) == (False, None)
    for content in (b"", b"first", bytes(range(256)) * 100):
        store.save("result", content)
        assert store.has("result")
        assert Store(store.folder, OURS).load("result") == content


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    store = Store(tmp_path, OURS)
    store.save("result", b"weights")
    path = store.path("result")
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(bytes(damaged))
        assert store.load("result") is None, place
        assert store.has("result")
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert store.load("result") is None, end


def test_a_file_of_another_run_or_name_is_not_taken(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path, OURS), Store(tmp_path, THEIRS)
    theirs.save("result", b"theirs")
    assert ours.load("result") is None
    theirs.path("result").rename(ours.path("result"))
    assert ours.load("result") is None
    ours.save("result", b"ours")
    ours.path("result").rename(ours.path("policies"))
    assert ours.load("policies") is None


def test_runs_share_a_folder(tmp_path: Path) -> None:
    for identity in (OURS, THEIRS):
        Store(tmp_path, identity).save("finetune", identity.encode())
    assert Store(tmp_path, THEIRS).load("finetune") == THEIRS.encode()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_done_makes_room(tmp_path: Path) -> None:
    store = Store(tmp_path, OURS)
    store.save("result", b"done")
    store.save("epoch", b"state")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "kept").write_text("")
    (tmp_path / "link").symlink_to(outside)
    store.keep_only("result")
    assert list(tmp_path.iterdir()) == [store.path("result")]
    assert (outside / "kept").exists()


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, OURS)
    store.save("result", b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"result.*No space left on device"):
            store.save("result", b"new")
    assert store.load("result") == b"old"
    assert list(tmp_path.iterdir()) == [store.path("result")]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/work.*--work-dir"):
        Store(tmp_path / "file" / "work", OURS).save("result", b"")


def test_records_come_back() -> None:
    weight = torch.randn(4, 3, dtype=torch.bfloat16)
    tensors = {"document": weight, "tied": weight, "empty": torch.zeros(0), "mask": weight > 0}
    record = Record.from_bytes(Record({"a": [1, None, "x"]}, tensors).to_bytes())
    assert record.document == {"a": [1, None, "x"]}
    assert set(record.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(record.tensors[name], tensor)
        assert record.tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_something_else_is_no_record(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a record"):
        Record.from_bytes(content)


def test_states_keep_memory_layouts() -> None:
    image = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"module": {"w": image}, "optimizer": {"state": {0: {"step": 3}}}, "best": None}
    again = unpack_state(pack_state(state))
    assert again is not None
    assert again["module"]["w"].stride() == image.stride()
    assert torch.equal(again["module"]["w"], image)
    assert (again["optimizer"], again["best"]) == (state["optimizer"], None)


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not run",))


def test_states_run_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert unpack_state(pack_state({"a": Harmful()})) is None
    assert unpack_state(b"nonsense") is unpack_state(None) is None
    assert capsys.readouterr().out == ""
