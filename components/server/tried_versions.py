# SPDX-License-Identifier: Apache-2.0
"""The version that answers, and the one on trial: a new version is not taken up before it has proved itself."""

import logging
import threading

from beam_jobs.errors import UserError
from components.pusher.provenance import login
from components.pusher.serving_folder import read_provenance, roll_back, versions
from components.pusher.trials import Decision, read_decisions, remember
from components.server.canary import Trial
from components.server.config import CanaryConfig, ServerConfig
from components.server.metrics import Metrics
from components.server.versions import ServedVersion, Versions, state_of

log = logging.getLogger(__name__)

BY = "serve --canary"
"""Who rolls back, in the provenance of what is put back and in what is withdrawn."""


def served_versions(config: ServerConfig, metrics: Metrics) -> Versions:
    """The versions of a server's folder.

    Raises:
        UserError: there is none that can be loaded.
    """
    if config.canary is None:
        return Versions(config.serving, config.poll_s, metrics, config.public_key)
    return TriedVersions(config, config.canary, metrics)


class TriedVersions(Versions):
    """Versions of which a new one is put on trial, unless a person put it into serving."""

    def __init__(self, config: ServerConfig, canary: CanaryConfig, metrics: Metrics) -> None:
        self.canary = canary
        self.trial: Trial | None = None
        # The folder is looked at by one thread and decided about by another.
        self._changes = threading.RLock()
        super().__init__(config.serving, config.poll_s, metrics, config.public_key)
        if not read_decisions(self.serving):
            self._remember(self._current.version, "was there when versions began to be tried")
        elif self._is_to_be_tried(self._current.version):
            self._go_back_for_a_trial()

    def look(self) -> None:
        """As `Versions`; a version on trial that was taken out of the folder is no longer tried."""
        with self._changes:
            there = versions(self.serving)
            if self.trial and self.trial.candidate.version not in there:
                log.info("version %d was taken away and is no longer tried", self.trial.candidate.version)
                self._end_trial()
            if not self.trial or there[-1] != self.trial.candidate.version:
                super().look()

    def stop(self) -> None:
        """Ends the watch, and a trial without a decision: the next server begins it anew."""
        super().stop()
        self._end_trial()

    def _go_back_for_a_trial(self) -> None:
        """Of a server that was ended while a version was on trial, the next one does not begin with it."""
        before = [version for version in versions(self.serving) if version < self._current.version]
        present = self._newest_that_works(before, None) if before else None
        if present is not None:
            candidate = self._current
            self._take(present)
            self._try(candidate)

    def _found(self, version: ServedVersion) -> None:
        self._end_trial()
        if version.version > self._current.version and self._is_to_be_tried(version.version):
            self._try(version)
        else:
            self._take(version)

    def _is_to_be_tried(self, version: int) -> bool:
        known = read_provenance(self.serving, version)
        by_a_person = known is not None and known.action != "pushed"
        return not by_a_person and version not in {decision.version for decision in read_decisions(self.serving)}

    def _try(self, candidate: ServedVersion) -> None:
        self.trial = Trial(candidate, self._current, self.canary, self._decided)
        self.metrics.canary.set(candidate.version)
        log.info("version %d is on trial with %.0f %% of the requests", candidate.version, 100 * self.canary.share)

    def _end_trial(self) -> None:
        if self.trial:
            self.trial.end()
        self.trial = None
        self.metrics.canary.set(0)

    def _decided(self, decision: Decision) -> None:
        with self._changes:
            trial = self.trial
            if trial is None or trial.candidate.version != decision.version:
                return
            self.metrics.canary_decisions.labels(decision.outcome).inc()
            level = logging.INFO if decision.outcome == "promoted" else logging.ERROR
            log.log(level, "version %d is %s: %s", decision.version, decision.outcome, decision.why)
            self._write(decision)
            self._end_trial()
            if decision.outcome == "promoted":
                self._take(trial.candidate)
            else:
                self._roll_back(decision)

    def _roll_back(self, decision: Decision) -> None:
        # This server does not take it up again, even where the folder cannot be written.
        self._refused[decision.version] = state_of(self.serving / str(decision.version))
        if versions(self.serving)[-1:] != [decision.version]:
            return  # another server of this folder was first
        try:
            roll_back(self.serving, decision.against, BY, login(), decision.why, self.public_key)
        except UserError as error:
            log.error("version %d is still the newest of the folder: %s", decision.version, error)

    def _remember(self, version: int, why: str) -> None:
        known = read_provenance(self.serving, version)
        when = known.pushed_at if known else ""
        self._write(Decision(version=version, outcome="promoted", why=why, when=when, against=version))

    def _write(self, decision: Decision) -> None:
        try:
            remember(self.serving, decision)
        except OSError as error:
            log.error("%s: cannot be written (%s), so it will be tried again", self.serving, error.strerror)
