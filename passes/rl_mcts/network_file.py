"""The file of a policy and value network, with which it is carried to another model."""

from __future__ import annotations

from pathlib import Path

from compressc.errors import PolicyError
from compressc.passes.rl_mcts.policy_value_network import PolicyValueNetwork, load_weights
from compressc.passes.rl_mcts.state_matrix import ROWS
from compressc.store.records import Record
from compressc.writing import write_atomically

_FORMAT = "compressc-policy-value-1"


def save_network(path: str | Path, network: PolicyValueNetwork, width: int) -> None:
    """Write a network; nothing in the file can run.

    Raises:
        OutputError: if the file cannot be written.
    """
    document = {"format": _FORMAT, "rows": list(ROWS), "width": width}
    content = Record(document, network.state_dict()).to_bytes()
    write_atomically(path, lambda place: place.write_bytes(content))


def read_network(path: str | Path) -> tuple[PolicyValueNetwork, int]:
    """Return the network of a file, and its width.

    Raises:
        PolicyError: if it cannot be read, or was trained on other features.
    """
    try:
        record = Record.from_bytes(Path(path).read_bytes())
        document = record.document
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']}")
        rows, width = tuple(document["rows"]), int(document["width"])
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError(
            f"{path}: is no policy and value network ({error}); leave --start-network out to begin "
            "with an untrained one"
        ) from error
    if rows != ROWS:
        raise PolicyError(
            f"{path}: was trained on the features {', '.join(rows)}; this version gives "
            f"{', '.join(ROWS)}; train one anew"
        )
    network = PolicyValueNetwork(width)
    try:
        load_weights(network, record.tensors)
    except RuntimeError as error:
        cause = " ".join(str(error).split())[:100]
        raise PolicyError(f"{path}: its weights do not fit its width ({cause})") from error
    return network, width
