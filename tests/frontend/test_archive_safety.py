"""Hostile ``.pt2`` files: each would run code in torch.export.load; ours refuses and runs none."""

import contextlib
import io
import json
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from compressc.errors import CompresscError, HandOverError
from compressc.frontend.archive_safety import rebuild_archive
from compressc.frontend.handover import load
from compressc.frontend.operator_names import check_operator

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
INPUTS = "data/sample_inputs/model.pt"


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


@pytest.fixture(scope="module")
def members():
    """The members of an honest archive, by name below the root."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    exported = torch.export.export(
        model, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


def write_archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def edit_json(data, edit):
    document = json.loads(data)
    edit(document)
    return json.dumps(document).encode()


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickled_weight(members, marker, _folder):
    def edit(table):
        table["config"]["0.weight"]["use_pickle"] = True

    return members | {
        WEIGHTS: edit_json(members[WEIGHTS], edit),
        "data/weights/weight_0": saved(Payload(marker)),
    }


def pickled_constant(members, marker, _folder, file="tensor_0"):
    entry = {"path_name": file, "is_param": False, "use_pickle": True, "tensor_meta": None}
    return members | {
        CONSTANTS: json.dumps({"config": {"c": entry}}).encode(),
        f"data/constants/{file}": saved(Payload(marker)),
    }


def opaque_constant(members, marker, _folder):
    import pickle

    changed = pickled_constant(members, marker, _folder, file="opaque_obj_0")
    return changed | {"data/constants/opaque_obj_0": pickle.dumps(Payload(marker))}


def sample_inputs(members, marker, _folder):
    return members | {INPUTS: saved(((Payload(marker),), {}))}


def legacy_weights(members, marker, _folder):
    return members | {"data/weights/model.pt": saved({"0.weight": Payload(marker)})}


def symbolic_size(members, marker, _folder):
    def edit(program):
        size = program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"][0]
        size["as_expr"]["expr_str"] = f"open({str(marker)!r}, 'w').fileno()"

    return members | {MODEL: edit_json(members[MODEL], edit)}


def imported_enum(members, marker, folder):
    (folder / "evil_enum_module.py").write_text(f"open({str(marker)!r}, 'w').close()")

    def edit(program):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        context = json.dumps([{"__enum__": True, "fqn": "evil_enum_module:A", "name": "B"}])
        leaf = {"type": None, "context": None, "children_spec": []}
        spec = {"type": "builtins.dict", "context": context, "children_spec": [leaf]}
        signature["out_spec"] = json.dumps([1, spec])

    return members | {MODEL: edit_json(members[MODEL], edit)}


def argument_name(members, marker, _folder):
    """A name that becomes a default argument in the Python code that torch.fx generates."""
    code = f"input=open({str(marker)!r}, 'w').fileno()"
    text = members[MODEL].decode().replace(json.dumps("input"), json.dumps(code))
    # Names of operator arguments stay as they were.
    text = text.replace(f'"name": {json.dumps(code)}, "arg"', '"name": "input", "arg"')
    return members | {MODEL: text.encode()}


HOSTILE = [
    pickled_weight,
    pickled_constant,
    opaque_constant,
    sample_inputs,
    legacy_weights,
    symbolic_size,
    imported_enum,
    argument_name,
]


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_attack_works_on_torch_and_is_refused_here(attack, members, marker, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = write_archive(tmp_path / "hostile.pt2", attack(members, marker, tmp_path))
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert marker.exists(), "the attack does not work, so refusing it proves nothing"
    marker.unlink()

    with pytest.raises(HandOverError) as refusal:
        load(path)
    assert not marker.exists()
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_guards_that_run_on_call_are_dropped(members, marker, tmp_path):
    def edit(program):
        program["guards_code"] = [f"open({str(marker)!r}, 'w').fileno() > 0"]

    path = write_archive(tmp_path / "g.pt2", members | {MODEL: edit_json(members[MODEL], edit)})
    x = torch.randn(2, 3, 8, 8)
    torch.export.load(path).module()(x)
    assert marker.exists(), "torch no longer runs guards; this test proves nothing"
    marker.unlink()
    torch.export.load(io.BytesIO(rebuild_archive(path).content)).module()(x)
    assert not marker.exists()


def test_compiled_libraries_are_not_carried_over(members, tmp_path):
    extended = members | {"data/aotinductor/model/lib.so": b"\x7fELF"}
    rebuilt = rebuild_archive(write_archive(tmp_path / "a.pt2", extended))
    with zipfile.ZipFile(io.BytesIO(rebuilt.content)) as archive:
        assert not [name for name in archive.namelist() if "aotinductor" in name]


def test_honest_archive_is_rebuilt_with_equal_outputs(members, tmp_path):
    path = write_archive(tmp_path / "honest.pt2", members)
    rebuilt = torch.export.load(io.BytesIO(rebuild_archive(path).content))
    x = torch.randn(3, 3, 8, 8)
    expected = torch.export.load(path).module()(x)
    assert torch.equal(rebuilt.module()(x), expected)
    assert (
        "nn_module_stack"
        in next(
            iter(rebuilt.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default))
        ).meta
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.download_url_to_file",
        "torch.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.image.write_file.default",
        "_operator.methodcaller",
        "math.__loader__.load_module",
        "torch.ops.aten.__class__.__base__",
        "#evil:op",
    ],
)
def test_operator_that_does_more_than_compute_is_refused(target, members, tmp_path):
    def edit(program):
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    path = write_archive(tmp_path / "o.pt2", members | {MODEL: edit_json(members[MODEL], edit)})
    with pytest.raises(HandOverError, match="operator"):
        rebuild_archive(path)


def test_record_used_raw_and_pickled_is_refused(members, marker, tmp_path):
    """The raw use must not smuggle the record past the check of the pickled use."""

    def edit(table):
        entry = dict(table["config"]["0.weight"], use_pickle=True)
        table["config"]["0.weight"]["tensor_meta"]["sizes"] = [{"as_int": 1}] * 4
        table["config"]["twice"] = entry

    changed = {
        WEIGHTS: edit_json(members[WEIGHTS], edit),
        "data/weights/weight_0": saved(Payload(marker)),
    }
    with pytest.raises(HandOverError, match="two ways"):
        rebuild_archive(write_archive(tmp_path / "t.pt2", members | changed))
    assert not marker.exists()


def test_tensor_larger_than_its_record_is_refused(members, tmp_path):
    def edit(table):
        meta = table["config"]["0.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 2**20}, {"as_int": 2**20}]
        meta["strides"] = [{"as_int": 0}, {"as_int": 0}]

    path = write_archive(tmp_path / "b.pt2", members | {WEIGHTS: edit_json(members[WEIGHTS], edit)})
    with pytest.raises(HandOverError, match=r"'0\.weight' claims 1099511627776 values"):
        rebuild_archive(path)


def test_compressed_member_is_refused(members, tmp_path):
    path = write_archive(tmp_path / "z.pt2", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(HandOverError, match="compressed"):
        rebuild_archive(path)


def test_member_named_twice_is_refused(members, tmp_path):
    path = write_archive(tmp_path / "d.pt2", members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/Models/model.json", b"{}")
    with pytest.raises(HandOverError, match="two members of one name"):
        rebuild_archive(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "data/../../x", "a\\b"])
def test_path_out_of_the_archive_is_refused(name, members, tmp_path):
    path = write_archive(tmp_path / "p.pt2", members | {name: b""})
    with pytest.raises(HandOverError, match="outside"):
        rebuild_archive(path)


@pytest.mark.parametrize("missing", [WEIGHTS, INPUTS, "data/weights/weight_1", MODEL])
def test_missing_member_is_named(missing, members, tmp_path):
    rest = {name: data for name, data in members.items() if name != missing}
    with pytest.raises(HandOverError, match=r"missing|no exported program"):
        rebuild_archive(write_archive(tmp_path / "m.pt2", rest))


def test_every_truncation_is_one_line(members, tmp_path):
    data = write_archive(tmp_path / "full.pt2", members).read_bytes()
    path = Path(tmp_path / "cut.pt2")
    for keep in (0, 1, 10, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:keep])
        with pytest.raises(HandOverError) as refusal:
            load(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", ["text", -1.5, None, [], {"as_int": "4"}, {"as_int": True}])
def test_wrong_type_in_the_program_is_refused(value, members, tmp_path):
    def edit(program):
        program["graph_module"]["graph"]["tensor_values"]["conv2d"]["sizes"][1] = value

    path = write_archive(tmp_path / "w.pt2", members | {MODEL: edit_json(members[MODEL], edit)})
    with pytest.raises(HandOverError, match="malformed"):
        rebuild_archive(path)


def sites(value):
    """Return every (container, key) of a JSON document."""
    keys = value if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found.extend(sites(value[key]))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_escapes(seed, members, tmp_path):
    """Whatever is changed, the answer is a program or one line."""
    rng = random.Random(seed)
    name = rng.choice([MODEL, WEIGHTS])
    document = json.loads(members[name])
    container, key = rng.choice(sites(document))
    if rng.random() < 0.3:
        del container[key]
    else:
        container[key] = rng.choice([None, True, -1, 10**30, "x", "input", [], {}, {"as_int": 3}])
    path = write_archive(tmp_path / "r.pt2", members | {name: json.dumps(document).encode()})
    with contextlib.suppress(CompresscError):
        load(path)
    flipped = bytearray(write_archive(path, members).read_bytes())
    flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    path.write_bytes(flipped)
    with contextlib.suppress(CompresscError):
        load(path)


def test_einsum_may_order_its_contractions() -> None:
    assert check_operator("torch.ops.aten.einsum.default")
    with pytest.raises(HandOverError, match="opens files"):
        check_operator("torch.ops.aten.from_file.default")
