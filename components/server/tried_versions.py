# SPDX-License-Identifier: Apache-2.0
"""The version that answers, the candidate that is tried beside it, and the version before, should the new one not do."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from beam_jobs.errors import UserError
from components.pusher.candidate import finish_interrupted, promote, push_config, withdraw_candidate
from components.pusher.lineage_events import send_rollback, send_verdict
from components.pusher.provenance import Provenance, login, read_provenance
from components.pusher.serving_folder import locked, put_back, versions
from components.pusher.trials import CANDIDATE_FOLDER, SERVER, Decision, candidate, remember_if_possible
from components.pusher.withdrawn import WITHDRAWN_FILE
from components.server.config import ServerConfig
from components.server.limits import Limits
from components.server.metrics import Metrics
from components.server.tally import Verdict, judge_candidate, judge_in_serving
from components.server.trial import Trial
from components.server.versions import DamagedError, ServedVersion, Versions, state_of

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""After which a decision is carried out that the folder, on a full disk, did not take."""
TELL_S = 3.0
"""For which the end of a server waits for events about its decisions."""
TIMED_SHARE = 0.1
"""Of the requests to a new version in serving, which are put to the one before as well."""


class TriedVersions(Versions):
    """Versions of which one at a time is on trial: a candidate, or the newest one for its first requests."""

    def __init__(self, config: ServerConfig, metrics: Metrics, limits: Limits) -> None:
        """Loads the newest version that works.

        Args:
            config: of the server.
            metrics: the server's.
            limits: the server's, which know how busy it is.

        Raises:
            UserError: there is none, or the key cannot be used.
        """
        self.trial: Trial | None = None
        self._limits = limits
        self._undone: tuple[Callable[[], None], str, float] | None = None
        """What was decided and could not be done, what to say of it, and when to try it again."""
        self._telling: list[threading.Thread] = []
        # The folder is looked at by one thread and decided about by another.
        self._changes = threading.RLock()
        withdrawn, back = self._finish_interrupted(config)
        super().__init__(config.serving, config.poll_s, metrics, config.public_key)
        if withdrawn and withdrawn.by == SERVER:
            self._tell(send_verdict, withdrawn)
        if back:
            self._tell(send_rollback, back)
        self._candidates = self.serving / CANDIDATE_FOLDER

    def look(self) -> None:
        """As `Versions`, and begins the trial of a candidate."""
        with self._changes:
            super().look()
            if self._undone and time.monotonic() > self._undone[2]:
                self._do(*self._undone[:2])
            trial, there = self.trial, candidate(self.serving)
            if trial and trial.answers != "everybody" and trial.new.version != there:
                log.info("candidate %d was taken away and is no longer tried", trial.new.version)
                self._end_trial()
            if self.trial is None and there is not None and self._undone is None:
                self._try(there)

    def stop(self) -> None:
        """Ends the watch, and a trial without a decision: the next server begins that of a candidate anew."""
        super().stop()
        # Without the lock, which a load holds for seconds: requests in hand are answered meanwhile.
        if trial := self.trial:
            trial.end()

    def finish_telling(self) -> None:
        """Waits for events about this server's decisions that are on their way, for a moment."""
        until = time.monotonic() + TELL_S
        for thread in self._telling:
            thread.join(max(0.0, until - time.monotonic()))

    def _finish_interrupted(self, config: ServerConfig) -> tuple[Provenance | None, Provenance | None]:
        """Does what a server that was killed had decided."""
        if config.serving.is_dir() and os.access(config.serving, os.W_OK):
            try:
                return finish_interrupted(config.serving, config.public_key)
            except (OSError, UserError) as error:
                log.error("%s: %s", config.serving, error)
        return None, None

    def _tell(self, send: Callable[[Path, Provenance], None], provenance: Provenance) -> None:
        """In a thread of its own: whoever is told may hang."""
        thread = threading.Thread(target=send, args=(self.serving, provenance), name="tell of a decision", daemon=True)
        thread.start()
        self._telling = [*filter(threading.Thread.is_alive, self._telling), thread]

    def _found(self, version: ServedVersion) -> None:
        # At no moment does a version that is watched answer without the one that answers in its place.
        ended = self.trial
        self._watch_closely(version, self._current)  # before the first request
        self._take(version)
        if self.trial is ended:
            self._end_trial()
        elif ended:
            ended.end()
            self.metrics.canary.set(0)

    def _watch_closely(self, version: ServedVersion, before: ServedVersion) -> None:
        known = read_provenance(self.serving, version.version)
        # What was rolled back to was in serving before. What something else put there has no configuration.
        if known is None or known.action == "rolled back" or version.version < before.version:
            return
        if (bounds := push_config(known).rollback) is not None:
            self.trial = Trial(
                version,
                before,
                share=TIMED_SHARE,
                answers="everybody",
                judge=partial(judge_in_serving, config=bounds, other=before.version),
                decide=self._decided_in_serving,
                limits=self._limits,
                metrics=self.metrics,
            )
            log.info("version %d is watched for %d requests", version.version, bounds.requests)

    def _try(self, number: int) -> None:
        folder = self._candidates / str(number)
        known, state = read_provenance(self._candidates, number), self._state_of_candidate(number)
        if known is None or self._refused.get(number) == state:
            return
        if not os.access(self.serving, os.W_OK):
            self._refused[number] = state
            log.error("candidate %d is not tried: %s cannot be written, so nothing could come of it", number, self.serving)
            return
        try:
            loaded = ServedVersion.load(folder, self.public_key)
        except Exception as error:  # of whatever kind
            if candidate(self.serving) != number:  # it was taken away meanwhile
                return
            self.metrics.refused.inc()
            why = f"cannot be loaded: {' '.join(str(error).split())[:200]}"
            self._decide(number, Verdict(False, why), 0, its_model=not isinstance(error, DamagedError))
            return
        if self._stop.is_set():
            return
        config = push_config(known).canary
        self.trial = Trial(
            loaded,
            self._current,
            share=config.share,
            answers="nobody" if config.shadow else "share",
            judge=partial(judge_candidate, config=config, other=self._current.version),
            decide=self._decided_candidate,
            limits=self._limits,
            metrics=self.metrics,
        )
        self.metrics.canary.set(number)
        how = "is asked beside the version in serving for" if config.shadow else "answers"
        log.info("candidate %d %s %.0f %% of the requests", number, how, 100 * config.share)

    def _state_of_candidate(self, number: int) -> tuple[Any, ...]:
        """Its files, and what may keep a server from a decision: one that was refused is tried again when any of it changes."""
        withdrawn = None
        with suppress(OSError):
            withdrawn = (self.serving / WITHDRAWN_FILE).stat().st_mtime_ns
        return state_of(self._candidates / str(number)), os.access(self.serving, os.W_OK), withdrawn

    def _end_trial(self) -> None:
        if self.trial:
            self.trial.end()
        self.trial = None
        self.metrics.canary.set(0)

    def _decided_candidate(self, trial: Trial, verdict: Verdict) -> None:
        with self._changes:
            if self.trial is trial:
                self._end_trial()
                self._decide(trial.new.version, verdict, trial.tally.compared)

    def _decide(self, number: int, verdict: Verdict, requests: int, its_model: bool = True) -> None:
        """What becomes of a candidate; what is promoted is taken up as any new version."""
        decision = self._decision(number, verdict, self._current.version, requests)
        self._say(decision)
        self.metrics.canary_decisions.labels(decision.outcome).inc()
        self._do(partial(self._end_candidate, decision, its_model), f"candidate {number} stays where it is")

    def _end_candidate(self, decision: Decision, its_model: bool) -> None:
        try:
            if decision.outcome == "promoted":
                stored = promote(self.serving, decision)
            else:
                stored = withdraw_candidate(self.serving, decision, its_model)
        except UserError:
            self._refused[decision.version] = self._state_of_candidate(decision.version)  # not tried over and over
            raise
        if stored:
            self._tell(send_verdict, stored)

    def _do(self, act: Callable[[], None], undone: str) -> None:
        """What was decided; tried again later where the folder cannot be written now. `undone` is what to say then."""
        self._undone = None
        try:
            act()
        except OSError as error:
            self._undone = act, undone, time.monotonic() + RETRY_S
            log.error("%s: %s; tried again in %.0f s", undone, error, RETRY_S)
        except UserError as error:
            log.error("%s until a person changes that: %s", undone, error)

    def _decided_in_serving(self, trial: Trial, verdict: Verdict) -> None:
        with self._changes:
            if self.trial is not trial:
                return
            if verdict.good:
                self._end_trial()
                log.info("version %d stays: %s", trial.new.version, verdict.why)
                return
            # At once and here, whatever becomes of the folder; and before the trial ends, for the requests of this moment.
            self._refused[trial.new.version] = state_of(self.serving / str(trial.new.version))
            self._take(trial.other)
            self._end_trial()
            self.metrics.rollbacks.inc()
            decision = self._decision(trial.new.version, verdict, trial.other.version, trial.tally.asked)
            self._say(decision)
            self._do(partial(self._put_back, decision), f"version {decision.version} is still the newest of the folder")

    def _put_back(self, decision: Decision) -> None:
        with locked(self.serving):
            if versions(self.serving)[-1:] != [decision.version]:
                return  # another server of this folder was first, or a person
            who = Provenance(by=SERVER, login=decision.login, note=decision.why)
            stored = put_back(self.serving, decision.against, who, self.public_key)
            remember_if_possible(self.serving, decision)
        self._tell(send_rollback, stored)

    def _decision(self, number: int, verdict: Verdict, against: int, requests: int) -> Decision:
        return Decision.now(number, "promoted" if verdict.good else "rolled back", verdict.why, against, requests, login())

    def _say(self, decision: Decision) -> None:
        level = logging.INFO if decision.outcome == "promoted" else logging.ERROR
        log.log(level, "version %d is %s: %s", decision.version, decision.outcome, decision.why)
