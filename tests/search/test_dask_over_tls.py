"""A Dask cluster that speaks TLS: certificates by Dask's own options, and refusals without them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from compressc.errors import ExecutorError
from compressc.search.executors import DaskCluster, open_executor

pytest.importorskip("distributed", reason="dask.distributed is not installed")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


def certify(folder: Path, name: str) -> dict[str, str]:
    """Make a certificate that vouches for itself; return Dask's options for it."""
    folder.mkdir(exist_ok=True)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    subprocess.run(
        [*words, "-subj", f"/CN={name}", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return {
        "distributed.comm.tls.ca-file": str(cert),
        **{
            f"distributed.comm.tls.{role}.{part}": str(path)
            for role in ("client", "scheduler", "worker")
            for part, path in (("cert", cert), ("key", key))
        },
    }


def test_without_certificates_the_line_names_the_options() -> None:
    with pytest.raises(ExecutorError, match="TLS__CA_FILE"):
        open_executor(dask_address="tls://127.0.0.1:1")


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    import dask

    lost = {f"distributed.comm.tls.client.{part}": "lost.pem" for part in ("cert", "key")}
    lost["distributed.comm.tls.ca-file"] = "lost.pem"
    with dask.config.set(lost), pytest.raises(ExecutorError, match="cannot be used"):
        open_executor(dask_address="tls://127.0.0.1:1")


@needs_openssl
def test_work_goes_to_a_cluster_over_tls_and_strangers_do_not(tmp_path: Path) -> None:
    import dask
    import distributed

    with dask.config.set(certify(tmp_path, "ours")):
        cluster = distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            protocol="tls://",
            security=distributed.Security(require_encryption=True),
        )
        with cluster:
            address = cluster.scheduler_address
            assert address.startswith("tls://")
            with DaskCluster(address) as executor:
                assert executor.submit(sum, [1, 2]).result(60) == 3
            with (
                dask.config.set(certify(tmp_path / "others", "theirs")),
                pytest.raises(ExecutorError, match="no Dask scheduler answers"),
            ):
                DaskCluster(address)
