"""Files on any of Beam's filesystems."""

import io

from beam_jobs.files import create, settle


def test_a_settled_file_can_be_read_by_others_before_it_is_closed(tmp_path):
    with create(str(tmp_path / "a")) as file:
        file.write(b"whole")
        settle(file)
        assert (tmp_path / "a").read_bytes() == b"whole"


def test_what_is_no_local_file_settles_itself():
    settle(io.BytesIO(b"an object store's stream has no file number either"))
