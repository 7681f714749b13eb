"""Who has no certificate of ours does not get in."""

import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from distributed import Client, LocalCluster
from distributed.security import Security

MAKE = Path(__file__).parents[2] / "deploy" / "make-certificates"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def security(folder, **changes):
    """As Dask reads it from the file that comes with the certificates."""
    tls = yaml.safe_load((folder / "tls.yaml").read_text())["distributed"]["comm"]["tls"]
    options = {"tls_ca_file": tls["ca-file"], "require_encryption": True}
    for part in ("scheduler", "worker", "client"):
        options |= {f"tls_{part}_cert": tls[part]["cert"], f"tls_{part}_key": tls[part]["key"]}
    return Security(**(options | changes))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("tls") / name for name in ("ours", "theirs")]
    for folder in folders:
        subprocess.run([str(MAKE), str(folder), "dask.example.org"], check=True)
    return folders


@pytest.fixture(scope="module")
def cluster(certificates):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        host="127.0.0.1",
        protocol="tls://",
        security=security(certificates[0]),
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,
    ) as running:
        yield running


def test_a_client_with_our_certificate_computes(cluster, certificates):
    options = {"security": security(certificates[0]), "set_as_default": False}
    with Client(cluster.scheduler_address, **options) as client:
        assert client.submit(abs, -3).result() == 3


def test_a_client_of_another_authority_is_refused(cluster, certificates):
    ours, theirs = certificates
    for trusted in (ours, theirs):
        stranger = security(theirs, tls_ca_file=str(trusted / "ca.pem"))
        with pytest.raises(OSError, match=r"Timed out|certificate|alert|EOF|closed"):
            Client(cluster.scheduler_address, security=stranger, timeout=2, set_as_default=False)


def test_a_client_without_a_certificate_is_refused(cluster, certificates):
    host, port = cluster.scheduler_address.removeprefix("tls://").split(":")
    context = ssl.create_default_context(cafile=str(certificates[0] / "ca.pem"))
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
        pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|handshake.failure"),
    ):
        # TLS 1.3 tells the client with the first answer
        secure.recv(1)


def test_a_client_without_encryption_is_refused(cluster):
    address = cluster.scheduler_address.replace("tls://", "tcp://")
    with pytest.raises(OSError, match=r"Timed out|Connection|closed"):
        Client(address, timeout=2, set_as_default=False)


def test_keys_are_their_owners_alone_and_the_authoritys_is_gone(certificates):
    names = {file.name for file in certificates[0].iterdir()}
    parts = ("scheduler", "worker", "client")
    assert names == {"ca.pem", "tls.yaml", *(f"{p}{s}.pem" for p in parts for s in ("", "-key"))}
    for part in parts:
        mode = (certificates[0] / f"{part}-key.pem").stat().st_mode
        assert not mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    done = subprocess.run([str(MAKE), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exists" in done.stderr
