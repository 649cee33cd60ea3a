"""The digests of a version's files: what `sha256sum` makes of them, and how each kind of damage is named."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from brain_tumor.file_digests import (
    FILE_DIGESTS,
    DamagedModelError,
    check_file_digests,
    check_model_digest,
    hash_files,
    model_digest,
    write_file_digests,
)

FILES = {
    "saved_model.pb": b"graph",
    "fingerprint.pb": b"",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights " * 1000,
    "assets.extra/model.json": b"{}",
    "assets/a name with blanks é.txt": b"asset",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a version with digests."""
    model = tmp_path / "1"
    for name, content in FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    write_file_digests(model)
    return model


def test_sha256sum_checks_the_digests(folder: Path) -> None:
    command = ["sha256sum", "--strict", "-c", str(FILE_DIGESTS)]
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert checked.stdout.splitlines() == [f"{name}: OK" for name in sorted(FILES)]
    (folder / "saved_model.pb").write_bytes(b"grapH")
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (checked.returncode, "saved_model.pb: FAILED" in checked.stdout) == (1, True)


def test_digest_of_a_version_is_that_of_its_digests(folder: Path) -> None:
    printed = subprocess.run(["sha256sum", str(FILE_DIGESTS)], cwd=folder, capture_output=True, text=True, check=True).stdout
    digest = printed.split()[0]
    assert model_digest(hash_files(folder)) == digest
    check_model_digest(folder, digest, "version 1")
    (folder / FILE_DIGESTS).unlink()
    check_model_digest(folder, digest, "version 1")
    (folder / "saved_model.pb").write_bytes(b"grapH")
    with pytest.raises(DamagedModelError, match=f"^version 1 is not the one that was verified: got .*, expected {digest}$"):
        check_model_digest(folder, digest, "version 1")
    (folder / "saved_model.pb").unlink()
    os.mkfifo(folder / "saved_model.pb")
    with pytest.raises(DamagedModelError, match=r"^version 1 is damaged: saved_model\.pb is not a file$"):
        check_model_digest(folder, digest, "version 1")


def test_what_sha256sum_writes_is_read(folder: Path) -> None:
    for mode in ("--text", "--binary"):
        listed = subprocess.run(["sha256sum", mode, *FILES], cwd=folder, capture_output=True, check=True).stdout
        (folder / FILE_DIGESTS).write_bytes(listed)
        assert check_file_digests(folder, "version 1") == len(FILES)


def test_intact_version_passes_under_any_path(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_file_digests(folder, "version 1") == len(FILES)
    (tmp_path / "link").symlink_to(folder)
    assert check_file_digests(tmp_path / "link", "version 1") == len(FILES)
    monkeypatch.chdir(folder)
    assert check_file_digests(Path("."), "version 1") == len(FILES)


def test_version_without_digests_is_unchecked(folder: Path) -> None:
    (folder / FILE_DIGESTS).unlink()
    (folder / "saved_model.pb").unlink()
    assert check_file_digests(folder, "version 1") is None
    assert check_file_digests(folder / "nowhere", "version 1") is None


def write(name: str, content: bytes) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return damage


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def file_in_place_of_a_folder(folder: Path) -> None:
    shutil.rmtree(folder / "assets")
    (folder / "assets").touch()


WEIGHTS = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write("assets.extra/model.json", b"[]"), "assets.extra/model.json was changed"),
        (write(WEIGHTS, FILES[WEIGHTS][:-1]), f"{WEIGHTS} was changed"),
        (write(WEIGHTS, b""), f"{WEIGHTS} is empty"),
        (write("fingerprint.pb", b"x"), "fingerprint.pb was changed"),
        (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
        (
            lambda folder: shutil.rmtree(folder / "variables"),
            f"{WEIGHTS} is missing; variables/variables.index is missing",
        ),
        (
            file_in_place_of_a_folder,
            "assets/a name with blanks é.txt is missing",
        ),
        (write("assets/more.txt", b""), "assets/more.txt was added"),
        (write("a\nb\x1b.txt", b""), r"'a\nb\x1b.txt' was added"),
        (lambda folder: (folder / "loop").symlink_to(folder), "loop was added"),
        (lambda folder: (folder / "nothing").symlink_to("nowhere"), "nothing was added"),
        (replace("saved_model.pb", lambda path: path.symlink_to("nowhere")), "saved_model.pb is missing"),
        (replace("saved_model.pb", lambda path: path.symlink_to("/dev/zero")), "saved_model.pb is not a file"),
        (replace("saved_model.pb", os.mkfifo), "saved_model.pb is not a file"),
        (replace("saved_model.pb", Path.mkdir), "saved_model.pb is not a file"),
        (lambda folder: [write(f"{number}", b"")(folder) for number in range(12)], "0 was added; 1 was added; 10 was added; "),
    ],
)
def test_damage_names_the_file(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(DamagedModelError) as raised:
        check_file_digests(folder, "version 1")
    assert str(raised.value).startswith(f"version 1 is damaged: {message}")
    assert len(str(raised.value)) < 1000


def test_only_the_first_files_are_named(folder: Path) -> None:
    for number in range(1000):
        (folder / f"{number}.txt").touch()
    with pytest.raises(DamagedModelError, match=r"^version 1 is damaged: (\S+ was added; ){10}990 more$"):
        check_file_digests(folder, "version 1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_named(folder: Path) -> None:
    (folder / "saved_model.pb").chmod(0)
    with pytest.raises(DamagedModelError, match=r"saved_model\.pb cannot be read: Permission denied"):
        check_file_digests(folder, "version 1")


def test_link_to_the_same_content_is_intact(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "variables", tmp_path / "elsewhere")
    (folder / "variables").symlink_to(tmp_path / "elsewhere")
    shutil.move(folder / "saved_model.pb", tmp_path / "graph")
    (folder / "saved_model.pb").symlink_to(tmp_path / "graph")
    assert check_file_digests(folder, "version 1") == len(FILES)
    (tmp_path / "graph").write_bytes(b"another")
    with pytest.raises(DamagedModelError, match=r"saved_model\.pb was changed$"):
        check_file_digests(folder, "version 1")


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 is not a SHA-256 and the name of a file"),
        ("\n", "line 1 is not a SHA-256 and the name of a file"),
        (os.urandom(300), "was changed: line "),
        (f"{DIGEST}  a\r\n", "line 1 is not a SHA-256"),
        (f"{DIGEST}  a\n\n", "line 2 is not a SHA-256"),
        (f"{DIGEST}  a\n{DIGEST[:30]}", "line 2 is not a SHA-256"),
        (f"{DIGEST}  \n", "line 1 is not a SHA-256"),
        (f"{DIGEST}  a\0b\n", "line 1 is not a SHA-256"),
        (f"\\{DIGEST}  a\\nb\n", "line 1 is not a SHA-256"),
        (f"{DIGEST}  /etc/passwd\n", "line 1 does not name another file of this folder"),
        (f"{DIGEST}  ../2/saved_model.pb\n", "line 1 does not name another file of this folder"),
        (f"{DIGEST}  a/../../b\n", "line 1 does not name another file of this folder"),
        (f"{DIGEST}  ./a\n", "line 1 does not name another file of this folder"),
        (f"{DIGEST}  {FILE_DIGESTS}\n", "line 1 does not name another file of this folder"),
        (f"{DIGEST}  a\n{DIGEST}  a\n", "line 2 repeats a file"),
    ],
)
def test_damaged_digests_are_named(folder: Path, content: str | bytes, message: str) -> None:
    (folder / FILE_DIGESTS).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DamagedModelError) as raised:
        check_file_digests(folder, "version 1")
    assert str(raised.value).startswith("version 1 is damaged: assets.extra/files.sha256 ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(lambda path: path.symlink_to("nowhere"), "is missing"), (os.mkfifo, "is not a file"), (Path.mkdir, "is not a file")],
)
def test_digests_that_are_no_file_are_named(folder: Path, make: Callable[[Path], object], problem: str) -> None:
    (folder / FILE_DIGESTS).unlink()
    make(folder / FILE_DIGESTS)
    with pytest.raises(DamagedModelError, match=f"files.sha256 {problem}$"):
        check_file_digests(folder, "version 1")


def test_lost_lines_leave_added_files(folder: Path) -> None:
    lines = (folder / FILE_DIGESTS).read_text().splitlines(keepends=True)
    (folder / FILE_DIGESTS).write_text("".join(lines[:-1]))
    with pytest.raises(DamagedModelError, match=r"variables/variables\.index was added$"):
        check_file_digests(folder, "version 1")


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\x7fb", "a\udcffb"])
def test_name_that_sha256sum_would_escape_is_rejected(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(InputError, match="expected a file name of printable characters without a backslash"):
        write_file_digests(folder)
