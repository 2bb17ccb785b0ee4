import pytest

from gate_appliance.durable import write_durably


def test_write_durably_replaces_the_whole_content(tmp_path):
    path = tmp_path / "x"
    write_durably(path, b"long old content")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_write_durably_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    # A folder in the place of the file: the rename fails, after all octets were written.
    path = tmp_path / "x"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="x"):
        write_durably(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (path / "old").exists()
