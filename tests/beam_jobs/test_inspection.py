# SPDX-License-Identifier: Apache-2.0
"""Looking into a dataset: figures that fit the records, and a page that a real browser shows and plays."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beam_jobs.clip_store import ClipsReference, ClipStore
from beam_jobs.dataset import INFO_FILE
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from beam_jobs.inspection import summarise, write_page

# Plays no sound: asks each player for the length of what it was given, and writes it where --dump-dom shows it.
PROBE = """
<script>
const players = [...document.querySelectorAll("audio")];
Promise.all(players.map(player => new Promise(done => {
  const answer = () => done(player.error ? "error" : player.duration.toFixed(1));
  if (player.readyState || player.error) answer();
  else { player.onloadedmetadata = answer; player.onerror = answer; player.load(); }
}))).then(found => { document.body.dataset.durations = found.join(" "); });
const pictures = [...document.images].map(image => image.complete && image.naturalWidth > 100);
document.body.dataset.pictures = pictures.join(" ");
document.body.dataset.overflow = document.documentElement.scrollWidth > window.innerWidth;
</script>
"""


@pytest.fixture(scope="module")
def inspected(tmp_path_factory, index, make_config):
    folder = tmp_path_factory.mktemp("inspected") / "clips"
    generate_clips(make_config(), index, str(folder))
    return folder


@pytest.fixture(scope="module")
def page(inspected):
    target = inspected.parent / "page.html"
    write_page(str(inspected), str(target), num_clips=3)
    return target


def test_the_figures_add_up(inspected):
    for item in summarise(str(inspected)):
        assert item.clips == sum(item.labels.values()) == sum(item.modes.values())
        assert item.min_rms_dbfs <= item.mean_rms_dbfs <= item.max_rms_dbfs < 0
        assert item.num_bytes == sum(path.stat().st_size for path in (inspected / item.split).glob("*.tfrecord"))


def test_the_page_needs_no_network(page):
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "url(" not in text


def test_the_same_seed_draws_the_same_clips(inspected, page, tmp_path):
    write_page(str(inspected), str(tmp_path / "again.html"), num_clips=3)
    ids = re.compile(r'<h2 id="([^"]+)"')
    assert ids.findall((tmp_path / "again.html").read_text()) == ids.findall(page.read_text())


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(UserError, match=INFO_FILE):
        summarise(str(tmp_path))


def test_a_shard_that_was_cut_between_two_clips_is_one_line(inspected, tmp_path):
    folder = shutil.copytree(inspected, tmp_path / "clips")
    reference = ClipsReference.of_dataset(str(folder))
    shard = reference.of_split("test")[0]
    with ClipStore(reference) as store:
        os.truncate(folder / shard.file, store.index(shard)[1].offset)

    says = rf"^{folder}/{shard.file}: \d+ bytes where dataset_info.json says {shard.num_bytes}; generate the dataset again$"
    with pytest.raises(UserError, match=says):
        write_page(str(folder), str(tmp_path / "page.html"), num_clips=1000)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_and_can_play_every_clip(page, tmp_path, width, make_config):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium)")
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))

    dom = browse(chromium, probed, tmp_path, width)

    durations = re.search(r'data-durations="([^"]*)"', dom)[1].split()
    assert [float(duration) for duration in durations] == pytest.approx([make_config().duration_s] * 3, abs=0.1)
    assert re.search(r'data-pictures="([^"]*)"', dom)[1] == "true true true"
    assert 'data-overflow="false"' in dom


def browse(chromium: str, page: Path, profile: Path, width: int) -> str:
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={profile / 'profile'}",
        f"--window-size={width},1200", "--virtual-time-budget=10000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
