"""Writing files: whole or not at all, whatever fails, and as whoever owns the old file would want it."""

import os
import re
import stat
from typing import Any

import pytest

from l0quad.files.atomic import check_writable, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of a POSIX file system")


def hello(file):
    file.write(b"hello")


def failing(error, after=None):
    """What raises the error each time it is called, or the first ``after`` times only; then it does its work."""
    calls = []

    def call(*arguments, **options):
        calls.append(arguments)
        if after is None or len(calls) <= after[0]:
            raise error
        return after[1](*arguments, **options)

    return call


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_a_new_file_and_a_replaced_one(folder):
    write_atomically(folder / "out", hello)
    assert contents(folder) == {"out": b"hello"}
    write_atomically(folder / "out", lambda file: file.write(b"again"))
    assert contents(folder) == {"out": b"again"}


@pytest.mark.parametrize("broken", ["write", "os.open", "os.fsync", "os.replace"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), PermissionError(13, "no"), KeyboardInterrupt()]
)
def test_a_failure_leaves_the_old_file_and_no_other(folder, monkeypatch, broken, error):
    (folder / "out").write_bytes(b"old")
    write = hello
    if broken == "write":

        def write(file):
            hello(file)
            raise error
    else:
        monkeypatch.setattr(broken, failing(error))
    with pytest.raises(type(error)) as caught:
        write_atomically(folder / "out", write)
    monkeypatch.undo()
    assert caught.value is error
    assert contents(folder) == {"out": b"old"}


def test_a_second_interrupt_while_the_first_cleans_up(folder, monkeypatch):
    first = KeyboardInterrupt("first")
    monkeypatch.setattr("pathlib.Path.unlink", failing(KeyboardInterrupt("second"), (1, type(folder).unlink)))
    with pytest.raises(KeyboardInterrupt) as caught:
        write_atomically(folder / "out", failing(first))
    assert caught.value is first
    assert contents(folder) == {}


def test_what_cannot_be_removed_does_not_hide_why(folder, monkeypatch):
    monkeypatch.setattr("pathlib.Path.unlink", failing(PermissionError(13, "no")))
    with pytest.raises(OSError, match="full"):
        write_atomically(folder / "out", failing(OSError(28, "full")))


@pytest.mark.parametrize(("times", "written"), [(2, True), (9, False)])
def test_a_file_that_another_process_has_open(folder, monkeypatch, times, written):
    """Windows refuses to replace it; it is tried again for less than a second."""
    (folder / "out").write_bytes(b"old")
    held: Any = PermissionError(13, "Permission denied")
    held.winerror = 32
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("os.replace", failing(held, (times, os.replace)))
    if written:
        write_atomically(folder / "out", hello)
    else:
        with pytest.raises(PermissionError):
            write_atomically(folder / "out", hello)
    assert 0 < sum(slept) < 1
    assert contents(folder) == {"out": b"hello" if written else b"old"}


@posix
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_permissions_of_the_old_file_are_kept(folder, monkeypatch, mode):
    (folder / "out").write_bytes(b"old")
    (folder / "out").chmod(mode | stat.S_ISUID)
    created = []
    original = os.open

    def spy(name, flags, *mode):
        descriptor = original(name, flags, *mode)
        created.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr("os.open", spy)
    write_atomically(folder / "out", hello)
    assert created[0] & ~mode == 0, "from the beginning, so that nobody reads what is private"
    assert stat.S_IMODE((folder / "out").stat().st_mode) == mode
    assert (folder / "out").read_bytes() == b"hello"


@posix
def test_permissions_of_a_new_file_are_those_of_any_new_file(folder):
    (folder / "any").touch()
    write_atomically(folder / "out", hello)
    assert (folder / "out").stat().st_mode == (folder / "any").stat().st_mode


@posix
def test_file_and_folder_are_synced(folder, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
    write_atomically(folder / "out", hello)
    assert synced == [False, True]


def test_a_link_is_followed(folder):
    (folder / "elsewhere").mkdir()
    (folder / "out").symlink_to(folder / "elsewhere" / "real")
    check_writable(folder / "out", ("",))
    write_atomically(folder / "out", hello)
    assert (folder / "out").is_symlink()
    assert contents(folder / "elsewhere") == {"real": b"hello"}


def test_a_circle_of_links_is_replaced(folder):
    (folder / "out").symlink_to(folder / "out")
    check_writable(folder / "out", ("",))
    write_atomically(folder / "out", hello)
    assert contents(folder) == {"out": b"hello"}


def test_what_cannot_be_written_is_told_before_the_work(folder, monkeypatch):
    def refused(path, message):
        with pytest.raises(ValueError, match=f"^{re.escape(path)}: {message}"):
            check_writable(folder.__class__(path), (".npz",))

    os.mkdir("dir.npz")
    os.symlink("gone/out.npz", "link.npz")
    check_writable(folder / "OUT.NPZ", (".npz",))
    refused("out.csv", r"must end in \.npz")
    refused("no/out.npz", "there is no folder no")
    refused("link.npz", "there is no folder .*gone")
    refused("dir.npz", "exists and is not a regular file")
    monkeypatch.setattr("tempfile.TemporaryFile", failing(PermissionError()))
    refused("out.npz", "its folder may not be written to")
