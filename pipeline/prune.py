# SPDX-License-Identifier: Apache-2.0
"""`audio-gender prune`: removes old runs and what only they need.

First the metadata store forgets what goes, so that no run takes it from the cache; then its files are set aside by renaming, and
removed. Whatever a kept run does not need goes, so a prune that was killed is finished by the next one.
"""

import datetime
import errno
import itertools
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from beam_jobs.errors import UserError
from components.pusher.serving_folder import read_provenance, versions
from pipeline.lineage import PRUNED, RUN_CONTEXT, WHOLE
from pipeline.outcome import read_outcomes
from pipeline.result import APPROVAL_RUN, find_result
from pipeline.runs import RunSummary, list_runs
from pipeline.store import check_store
from pipeline.workdir import WorkDir

GOING = ".going"
"""Folder of what is being removed."""
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
RUN_ID = r"\d{8}-\d{6}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prune removes: runs by id, and paths by kind. `kept` are the runs that stay, each with why."""

    runs: list[str]
    kept: dict[str, str]
    paths: dict[str, list[Path]] = field(default_factory=dict)

    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not self.runs and not any(self.paths.values())

    def num_bytes(self, kind: str | None = None) -> int:
        """Disk space that is freed, in bytes."""
        chosen = self.paths.values() if kind is None else [self.paths[kind]]
        return sum(disk_usage(path) for path in itertools.chain.from_iterable(chosen))


def parse_age(text: str) -> datetime.timedelta:
    """`30d`, `12h`, `8w`.

    Raises:
        UserError: it is none of them.
    """
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if found is None:
        raise UserError(f"--older-than {text}: not an age; give hours, days or weeks, such as 12h, 30d or 8w")
    return datetime.timedelta(**{UNITS[found[2]]: int(found[1])})


def prune(workdir: WorkDir, keep: int, older_than: datetime.timedelta | None, confirm: Callable[[Plan], bool]) -> Plan | None:
    """Removes all but the newest `keep` runs, of those that are old enough, where `confirm` agrees to the plan.

    Never removed: the serving folder, what was decided, runs that wait for approval, the runs that trained what is in serving,
    and everything that these and the kept ones were made from.

    Returns:
        What was removed; None where `confirm` refused.

    Raises:
        UserError: no run was made here, a run is at work, the metadata store cannot be used, or files cannot be removed.
    """
    list_runs(workdir)  # where no run was made, no folder is made either
    with workdir.locked():
        store = check_store(workdir)
        plan = _plan(workdir, store, keep, older_than)
        if not confirm(plan):
            return None
        try:
            _set_aside(workdir, plan.paths["reports"])
            if store is not None:
                _forget(store, plan, _needed(store, plan.kept))
            _set_aside(workdir, itertools.chain.from_iterable(plan.paths.values()))
            shutil.rmtree(workdir.root / GOING, ignore_errors=False)
        except OSError as error:
            raise UserError(
                f"{error.filename}: cannot be removed ({error.strerror}); fix that, and run the same command again"
            ) from None
        return plan


def disk_usage(path: Path) -> int:
    """Bytes on disk of a file, or of a folder with all that is in it."""
    found = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(item.lstat().st_blocks * 512 for item in found)


def _plan(workdir: WorkDir, store: MetadataStore | None, keep: int, older_than: datetime.timedelta | None) -> Plan:
    runs = [run for run in list_runs(workdir) if run.verdict != "rolled back"]
    kept = _kept(workdir, runs, keep, older_than)
    going = [run.run_id for run in runs if run.run_id not in kept]
    needed = _needed(store, kept)
    datasets, corpora = _data_of(workdir, kept)
    datasets |= {str(workdir.path(item.custom_properties["dataset_uri"].string_value)) for item in needed if _of_dataset(item)}
    uris = {workdir.path(item.uri) for item in needed}
    folders = {folder for uri in uris for folder in (uri, *uri.parents)}
    paths = {
        "reports": [path for path in _folders(workdir.reports, RUN_ID) if path.name not in kept],
        "artifacts": [path for path in _artifact_folders(workdir) if path not in folders],
        "datasets": [path for path in _folders(workdir.clips, "[0-9a-f]{12}") if str(path) not in datasets],
        "corpora": [path for path in _folders(workdir.corpus, "synth-[0-9a-f]{12}") if str(path) not in corpora],
        "checkpoints": [
            path for path in _folders(workdir.tfx / "checkpoints", "[0-9a-f]{12}") if _last_writer(path, runs) not in kept
        ],
        "logs": [path for path in workdir.logs.glob("*.log") if _run_of_log(path) not in (None, *kept)],
        "remains": [path for path in [workdir.root / GOING] if path.exists()],
    }
    return Plan(going, kept, paths)


def _kept(workdir: WorkDir, runs: Sequence[RunSummary], keep: int, older_than: datetime.timedelta | None) -> dict[str, str]:
    provenances = filter(None, (read_provenance(workdir.serving, version) for version in versions(workdir.serving)))
    served = {provenance.run_id for provenance in provenances}
    oldest_ms = (datetime.datetime.now().timestamp() - older_than.total_seconds()) * 1000 if older_than else None
    newest = {run.run_id for run in runs[len(runs) - min(keep, len(runs)) :]}
    kept = {}
    for run in runs:
        if run.run_id in served:
            kept[run.run_id] = "in serving"
        elif run.verdict in ("waiting", "on trial"):
            kept[run.run_id] = run.verdict
        elif run.run_id in newest:
            kept[run.run_id] = "among the newest"
        elif oldest_ms is not None and run.started_ms > oldest_ms:
            kept[run.run_id] = "not old enough"
    return kept


def _needed(store: MetadataStore | None, kept: Iterable[str]) -> list[metadata_store_pb2.Artifact]:
    """The artifacts of these runs and of their approvals, and all that those were made from."""
    if store is None:  # no run came to the pipeline yet
        return []
    names = set(kept)
    contexts = [item for item in store.get_contexts_by_type(RUN_CONTEXT) if item.name.split(APPROVAL_RUN)[0] in names]
    found = {item.id: item for context in contexts for item in store.get_artifacts_by_context(context.id)}
    fresh = set(found)
    while fresh:
        made_by = {event.execution_id for event in store.get_events_by_artifact_ids(fresh) if event.type in OUTPUTS}
        inputs = {event.artifact_id for event in store.get_events_by_execution_ids(made_by) if event.type not in OUTPUTS}
        fresh = inputs - found.keys()
        found |= {item.id: item for item in store.get_artifacts_by_id(fresh)} if fresh else {}
    return [item for item in found.values() if item.state in WHOLE]


OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)


def _forget(store: MetadataStore, plan: Plan, needed: Iterable[metadata_store_pb2.Artifact]) -> None:
    """Marks what goes: TFX takes nothing from its cache that is not live."""
    kept = {item.id for item in needed}
    gone = [item for item in store.get_artifacts() if item.id not in kept and item.state in WHOLE]
    for artifact in gone:
        artifact.state = metadata_store_pb2.Artifact.DELETED
    if gone:
        store.put_artifacts(gone)
    names = set(plan.runs)
    contexts = [item for item in store.get_contexts_by_type(RUN_CONTEXT) if item.name.split(APPROVAL_RUN)[0] in names]
    for context in contexts:
        context.custom_properties[PRUNED].int_value = 1
    if contexts:
        store.put_contexts(contexts)


def _data_of(workdir: WorkDir, kept: Iterable[str]) -> tuple[set[str], set[str]]:
    """The datasets and the corpora that runs were made from."""
    outcomes = read_outcomes(workdir)
    datasets, corpora = set(), set()
    for run_id in kept:
        if result := find_result(workdir, run_id):
            datasets.add(result.folders["dataset"])
            corpora.add(result.folders["corpus"])
        if outcome := outcomes.get(run_id):
            datasets.add(str(workdir.path(outcome.dataset)))
            corpora.add(workdir.place(outcome.corpus))
    return datasets, corpora


def _of_dataset(artifact: metadata_store_pb2.Artifact) -> bool:
    return "dataset_uri" in artifact.custom_properties


def _folders(parent: Path, pattern: str) -> list[Path]:
    """Folders that this program named; what else lies there is someone else's."""
    found = sorted(parent.iterdir()) if parent.is_dir() else []
    return [path for path in found if re.fullmatch(pattern, path.name) and path.is_dir() and not path.is_symlink()]


def _artifact_folders(workdir: WorkDir) -> Iterator[Path]:
    for output in workdir.tfx.glob("*/*"):
        # TFX's own notes about executions, which are at an end, are in `.system`.
        yield from _folders(output / "executor_execution" if output.name == ".system" else output, r"\d+")


def _last_writer(checkpoints: Path, runs: Sequence[RunSummary]) -> str:
    """The run that was at work when a folder of checkpoints was written last: the newest that had begun by then."""
    written_ms = checkpoints.stat().st_mtime * 1000
    return max(((run.started_ms, run.run_id) for run in runs if run.started_ms <= written_ms), default=(0, ""))[1]


def _run_of_log(path: Path) -> str | None:
    found = re.fullmatch(rf"({RUN_ID})({APPROVAL_RUN}{RUN_ID})?\.log", path.name)
    return found[1] if found else None


def _set_aside(workdir: WorkDir, paths: Iterable[Path]) -> None:
    going = workdir.root / GOING
    going.mkdir(exist_ok=True)
    taken = itertools.count(len(list(going.iterdir())))
    for path in paths:
        if path == going or not path.exists():
            continue
        target = going / str(next(taken))
        while target.exists():
            target = going / str(next(taken))
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.rmtree(path)  # on a disk of its own
