import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import pytest
from embedded import imagestore, kubeconfigs, layout, pki, releases
from toolbox import steps


def archive(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_the_same_images_have_the_same_fingerprint_wherever_the_file_lies(tmp_path):
    one = archive(tmp_path / "one.tar", {"index.json": b"a", "blobs/x": b"1"})
    two = archive(tmp_path / "two.tar", {"oci-layout": b"{}", "index.json": b"a"})
    other = archive(tmp_path / "other.tar", {"index.json": b"b"})
    assert imagestore.fingerprint(one) == imagestore.fingerprint(two)
    assert imagestore.fingerprint(one) != imagestore.fingerprint(other)


def test_a_file_that_is_no_oci_archive_is_refused_by_name(tmp_path):
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(steps.StepError, match=r"text\.tar: not an OCI archive"):
        imagestore.fingerprint(tmp_path / "text.tar")
    with pytest.raises(steps.StepError, match=r"empty\.tar: not an OCI archive: it has no index\.json"):
        imagestore.fingerprint(archive(tmp_path / "empty.tar", {}))


@pytest.mark.parametrize("text", ["a" * 64, "a" * 64 + "\n", "a" * 64 + "  helm.tar.gz\n"])
def test_a_checksum_is_read_with_and_without_the_file_name(text):
    assert releases.checksum(text) == "a" * 64


@pytest.mark.parametrize("text", ["", "a" * 63, "<html>not found</html>", "A" * 64])
def test_what_is_no_checksum_is_refused(text):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        releases.checksum(text)


class Served:
    """A local stand-in for a download site: file URLs, so that the real urllib reads them."""

    def __init__(self, folder):
        self.folder = folder

    def release(self, name, content, digest=None):
        (self.folder / name).write_bytes(content)
        (self.folder / f"{name}.sha256").write_text(digest or hashlib.sha256(content).hexdigest())
        url = (self.folder / name).as_uri()
        return releases.Release(url, f"{url}.sha256", "program")


@pytest.fixture
def served(tmp_path):
    (tmp_path / "site").mkdir()
    return Served(tmp_path / "site")


def test_a_download_with_the_published_checksum_is_kept(served, tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "files", lambda _name, _arch: [served.release("tool", b"#!/bin/sh\n")])
    assert releases.download("tool", tmp_path)
    assert (tmp_path / "program").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "program").stat().st_mode & 0o111


def test_a_download_with_another_checksum_fails_loudly(served, tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "files", lambda _name, _arch: [served.release("tool", b"x", "0" * 64)])
    with pytest.raises(steps.StepError, match="its checksum file says 0000"):
        releases.download("tool", tmp_path)


def test_an_unreachable_site_means_building(tmp_path, monkeypatch, capsys):
    gone = releases.Release("file:///nowhere/tool", "file:///nowhere/tool.sha256", "program")
    monkeypatch.setattr(releases, "files", lambda _name, _arch: [gone])
    assert not releases.download("tool", tmp_path)
    assert "building it from its Go module" in capsys.readouterr().err


def test_every_release_is_fetched_over_https_with_a_checksum_of_its_own():
    for name in ("kubernetes", "helm", "coredns", "kind"):
        for release in releases.files(name, "amd64"):
            assert release.url.startswith("https://")
            assert release.checksum_url.startswith(release.url)
            assert "amd64" in release.url


def test_a_kubeconfig_holds_what_it_was_given():
    content = json.loads(kubeconfigs.render("admin", b"CA", b"CERT", b"KEY"))
    assert content["current-context"] == "headrace"
    assert base64.b64decode(content["users"][0]["user"]["client-key-data"]) == b"KEY"
    assert content["clusters"][0]["cluster"]["server"] == layout.API_URL


def test_files_agree_on_our_cluster_whatever_else_they_hold():
    ours = json.loads(kubeconfigs.render("headrace", b"CA", b"CERT", b"KEY"))
    users = {**ours, "contexts": [{"name": "work", "context": {}}, *ours["contexts"]]}
    assert kubeconfigs.ours(users) == kubeconfigs.ours(ours)
    assert kubeconfigs.ours({**users, "current-context": "work"}) != kubeconfigs.ours(ours)
    assert kubeconfigs.ours({**users, "users": None}) != kubeconfigs.ours(ours)


def test_kubeconfigs_are_readable_by_their_owner_only(tmp_path):
    kubeconfigs.replace(tmp_path / "folder" / "config", "secret")
    assert (tmp_path / "folder" / "config").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.usefixtures("state")
def test_certificates_carry_the_names_that_kubernetes_reads():
    node = pki.node_certificate(layout.Node(1))
    pki.ensure((node,))
    folder = layout.pki_dir()
    show = ["openssl", "x509", "-in", str(folder / "headrace-1.crt"), "-noout", "-subject", "-ext", "subjectAltName"]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert "O = system:nodes, CN = system:node:headrace-1" in text
    assert "IP Address:172.30.241.11" in text
    verify = ["openssl", "verify", "-CAfile", str(folder / "ca.crt"), str(folder / "headrace-1.crt")]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
    assert (folder / "headrace-1.key").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.usefixtures("state")
def test_certificates_are_made_once():
    node = pki.node_certificate(layout.Node(1))
    pki.ensure((node,))
    before = (layout.pki_dir() / "headrace-1.crt").read_bytes()
    pki.ensure((node,))
    assert (layout.pki_dir() / "headrace-1.crt").read_bytes() == before
