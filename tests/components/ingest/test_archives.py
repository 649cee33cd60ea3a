"""Unpacking of untrusted archives."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from components.ingest.archives import is_archive, unpack


def make_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_zip_is_unpacked(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", **{"yes/": b"", "yes/a b.png": b"one", "no\\c.png": b"two"})
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "yes" / "a b.png").read_bytes() == b"one"
    assert (tmp_path / "out" / "no" / "c.png").read_bytes() == b"two"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_is_unpacked(tmp_path: Path, mode: str) -> None:
    archive = make_tar(tmp_path / "a.tar", (member("yes", tarfile.DIRTYPE), b""), (member("./yes/a.png"), b"one"), mode=mode)
    assert is_archive(archive)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "yes" / "a.png").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["../a.png", "yes/../../a.png", "/etc/a.png", "..\\a.png"])
def test_path_that_leaves_the_folder_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"a\.zip: got a path that leaves the folder"):
        unpack(make_zip(tmp_path / "a.zip", **{"yes/b.png": b"", name: b"bad"}), tmp_path / "out")
    with pytest.raises(InputError, match=r"a\.tar: got a path that leaves the folder"):
        unpack(make_tar(tmp_path / "a.tar", (member(name), b"bad")), tmp_path / "out")
    assert not list(tmp_path.rglob("a.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_or_device_in_a_tar_is_rejected(tmp_path: Path, kind: bytes) -> None:
    archive = make_tar(tmp_path / "a.tar", (member("yes/a.png", kind, "/etc/passwd"), b""))
    with pytest.raises(InputError, match="got a link or a device, expected files and folders only"):
        unpack(archive, tmp_path / "out")


def test_link_in_a_zip_is_rejected(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("yes/a.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="got a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_unpacked_size_is_limited(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "a.zip", **{f"yes/{index}.png": bytes(3_000_000) for index in range(4)})
    assert bomb.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"a\.zip: got more data, expected at most 10,000,000 bytes unpacked"):
        unpack(bomb, tmp_path / "out", max_bytes=10_000_000)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.png")) < 13_000_000
    with pytest.raises(InputError, match="at most 5,000 bytes"):
        unpack(make_tar(tmp_path / "a.tgz", (member("a"), bytes(9_000)), mode="w:gz"), tmp_path / "out", max_bytes=5_000)


def test_member_count_is_limited(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.zip: got more members, expected at most 3"):
        unpack(make_zip(tmp_path / "a.zip", **dict.fromkeys("abcd", b"")), tmp_path / "out", max_members=3)
    folders = [(member(name, tarfile.DIRTYPE), b"") for name in "abcd"]
    with pytest.raises(InputError, match=r"a\.tar: got more members, expected at most 3"):
        unpack(make_tar(tmp_path / "a.tar", *folders), tmp_path / "out", max_members=3)


def test_damaged_archive_is_rejected_with_its_cause(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 40
    archive = make_zip(tmp_path / "a.zip", **{"yes/a.png": noise})
    archive.write_bytes(archive.read_bytes().replace(b"\x01", b"\x02", 5))
    with pytest.raises(InputError, match=r"^a\.zip: cannot unpack, the archive is damaged: \w+$"):
        unpack(archive, tmp_path / "out")
    cut = make_tar(tmp_path / "a.tgz", (member("yes/a.png"), noise), mode="w:gz")
    cut.write_bytes(cut.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"a\.tgz: cannot unpack"):
        unpack(cut, tmp_path / "out")


def test_error_contains_no_member_name(tmp_path: Path) -> None:
    names = ("yes", "yes/John Doe.png")  # a file and a folder of one name
    archives = (
        make_zip(tmp_path / "a.zip", **dict.fromkeys(names, b"")),
        make_tar(tmp_path / "a.tar", *((member(n), b"") for n in names)),
    )
    for archive in archives:
        with pytest.raises(InputError, match=r"^a\.\w+: cannot unpack: File exists$"):
            unpack(archive, tmp_path / f"out-{archive.name}")


@pytest.mark.parametrize("name", ["yes/" + "x" * 300 + ".png", "yes/" + "y" * 256 + "/1.png", "yes/" + "long/" * 900 + "1.png"])
def test_name_that_is_too_long_is_returned(tmp_path: Path, name: str) -> None:
    members = {name: b"one", "no/2.png": b"two"}
    archives = (
        make_zip(tmp_path / "a.zip", **members),
        make_tar(tmp_path / "a.tar", *((member(n), d) for n, d in members.items())),
    )
    for archive in archives:
        out = tmp_path / f"out-{archive.name}"
        assert unpack(archive, out) == [out / name]
        assert (out / "no" / "2.png").read_bytes() == b"two"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_all_kept(tmp_path: Path) -> None:
    names = ["yes/1.png", "yes/1.png", "./yes/1.png", "yes\\1.png", "yes/1 (2).png", "yes", "yes/2"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for number, name in enumerate(names):
            opened.writestr(name, str(number))
    tar = make_tar(tmp_path / "a.tar", *((member(name), str(number).encode()) for number, name in enumerate(names)))
    for archive in (tmp_path / "a.zip", tar):
        out = tmp_path / f"out-{archive.name}"
        assert unpack(archive, out) == []
        contents = sorted(file.read_text() for file in out.rglob("*") if file.is_file())
        assert contents == [str(number) for number in range(len(names))]
        assert (out / "yes" / "1.png").read_text() == "0"


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (6, "Implode"), (77, "unknown")])
def test_compression_method_that_cannot_be_read_is_named(tmp_path: Path, method: int, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", **{"yes/1.png": b"one" * 99, "no/2.png": b"two"})
    data = bytearray(archive.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = method
    archive.write_bytes(data)
    with pytest.raises(InputError, match=rf"^a\.zip: got compression method {method} \({name}\), expected a zip with Deflate"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_empty_archive_says_so(tmp_path: Path) -> None:
    archives = (make_zip(tmp_path / "a.zip"), make_tar(tmp_path / "a.tar"))
    folders = (make_zip(tmp_path / "b.zip", **{"yes/": b""}), make_tar(tmp_path / "b.tar", (member("yes", tarfile.DIRTYPE), b"")))
    for archive in (*archives, *folders):
        assert is_archive(archive)
        with pytest.raises(InputError, match=r"^[ab]\.\w+: the archive is empty, expected class folders with images$"):
            unpack(archive, tmp_path / "out")


def test_encrypted_archive_is_rejected(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", a=b"secret")
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        unpack(archive, tmp_path / "out")
