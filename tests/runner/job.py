"""One job from its start to its report, as common/build.go plays it."""

import json
import os
import re
import signal
import time

from events import Events
from executor import OK, Executor, Outcome, note
from joblog import JobLog, RunnerLog
from process import Loop

TRIES = 3
ALWAYS = ("after_script", "cleanup_file_variables")
TITLES = {
    "prepare_script": "Preparing environment",
    "get_sources": "Getting source from Git repository",
    "restore_cache": "Restoring cache",
    "download_artifacts": "Downloading artifacts",
    "build_script": 'Executing "step_script" stage of the job script',
    "after_script": "Running after_script",
    "archive_cache": "Saving cache for successful job",
    "archive_cache_on_failure": "Saving cache for failed job",
    "upload_artifacts_on_success": "Uploading artifacts for successful job",
    "upload_artifacts_on_failure": "Uploading artifacts for failed job",
    "cleanup_file_variables":
        "Cleaning up project directory and file based variables",
}
EXIT = {"runner_system_failure": 100, "runner_configuration_error": 100,
        "runner_interrupted": 100, "canceled": 101,
        "job_execution_timeout": 102}


def duration(text):
    """Seconds of a Go duration (1h2m3.5s); None when it is none."""
    if not re.fullmatch(r"(\d+(\.\d+)?(h|ms|m|s))+", text):
        return None
    unit = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(n) * unit[u] for n, _, u in
               re.findall(r"(\d+(\.\d+)?)(h|ms|m|s)", text))


class Job:
    """The job. `over` is why the job context has ended, or None."""

    def __init__(self, opt, data):
        self.opt, self.data = opt, data
        self.loop = Loop()
        self.log = JobLog(opt.log, data.secrets(), opt.sections)
        self.runner_log = RunnerLog(opt.runner_log, {
            "job": data.job_id, "project": data.project_id,
            "runner": data.short_token}, opt.debug)
        self.events = Events(self.loop, opt.events, self.act)
        self.records, self.left = [], []
        self.current = self.current_kind = None
        self.over = self.over_at = None
        self.canceled = self.script_expired = False
        self.phase = "prepare"
        self.result = {"status": "running", "failure_reason": None,
                       "exit_code": None, "message": None}
        self.began = time.monotonic()
        self.loop.on_signal = self._signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.loop.watch_signal(number)

    # -- from outside -----------------------------------------------------

    def _signal(self, number):
        """The runner's own signals; QUIT lets the running job finish."""
        if number == signal.SIGQUIT:
            return
        if self.over == "runner_interrupted":
            os._exit(100)
        self.runner_log.entry("WARNING", f"{signal.Signals(number).name} "
                              "received, stopping all jobs")
        # After this long the process goes, whatever is still going on, and
        # GitLab is never told.
        self.loop.call_later(self.opt.shutdown_timeout,
                             lambda: os._exit(100))
        self.end("runner_interrupted")

    def act(self, action):
        """An injected event."""
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "shutdown":
            os.kill(os.getpid(), signal.SIGTERM)
        elif action == "force-cancel" or self.phase == "prepare":
            self.end("canceled")
        elif self.phase in ("script", "after"):
            self.canceled = True
            if self.phase == "script" and self.current:
                self.stop(self.current)

    def end(self, reason):
        """The job context is over; what runs is ended, save cleanup."""
        if self.over or self.phase == "cleanup":
            return
        self.over, self.over_at = reason, time.monotonic()
        self.loop.call_later(self.opt.abandon_after, lambda: None)
        if self.current and self.current_kind != "cleanup":
            self.stop(self.current)

    def stop(self, child):
        """TERM - grace - KILL for one stage."""
        child.terminate(self.opt.graceful_kill_timeout,
                        self.opt.force_kill_timeout)

    def abandoned(self):
        """Whether the run stage is not waited for any longer."""
        return (self.over is not None and time.monotonic() - self.over_at
                >= self.opt.abandon_after)

    # -- called by Executor -----------------------------------------------

    def begin(self, child, kind, name):
        """A stage's process runs."""
        self.current, self.current_kind = child, kind
        self.events.started(name)

    def finished(self, _child):
        """It does no longer, or is not waited for."""
        self.current = self.current_kind = None
        self.events.ended()

    def warn(self, text):
        """A warning of the runner's in the job log."""
        self.log.line("WARNING: " + text)

    # -- the job ----------------------------------------------------------

    def run(self):
        """Play it; returns the exit status of the program."""
        self.save()
        self.loop.call_later(self.data.timeout, lambda: self.end(
            "job_execution_timeout"))
        self.log.line("Running with gitlab-runner (tests/runner)")
        self.log.line(f"  on tests/runner {self.data.short_token}")
        with self.log.section("prepare_executor",
                              'Preparing the "custom" executor'):
            executor, outcome = self._acquire()
        if executor:
            outcome = self._build(executor)
            self.phase = "cleanup"
            executor.cleanup()
        self.phase = "cleanup"
        status = self._report(outcome)
        for child, record in self.left:
            self.loop.wait(child.over)
            note(record, child)
        if self.left:
            self.save()
        return status

    def _acquire(self):
        """Up to three tries; cleanup after each failed one."""
        outcome = OK
        for number in range(1, TRIES + 1):
            executor = Executor(self, number)
            if executor.tmp:
                outcome = executor.configure()
                if outcome and not self.over:
                    outcome = executor.prepare()
            else:
                outcome = Outcome("system", None, "cannot make the temporary "
                                  f"folder in {self.opt.temp}")
            if outcome:
                return executor, outcome
            self.log.line(f"ERROR: Preparation failed: {outcome.message}")
            executor.cleanup()
            if self.over or outcome.kind in ("build", "config"):
                break
            if number < TRIES:
                self.log.line(f"Will be retried in {self.opt.retry_wait:g}s "
                              "...")
                self.loop.wait(lambda: self.over, self.opt.retry_wait)
                if self.over:
                    break
        return None, outcome

    def _sub(self, executor, name, limit=None):
        """One sub-stage, unless the job context is over."""
        if self.over:
            return Outcome("system", None, "context canceled")
        with self.log.section("step_script" if name == "build_script" else
                              name, TITLES.get(name, f'Executing "{name}"')):
            if name == "build_script":
                self.warn("Starting with version 17.0 the `build_script` "
                          "stage will be replaced with `step_script`")
            return executor.run(name, limit)

    def _attempts(self, executor, name, variable):
        """A sub-stage with as many attempts as VARIABLE grants."""
        text = self.data.get(variable.encode() + b"_ATTEMPTS")
        tries = int(text) if text.isdigit() and 1 <= int(text) <= 10 else 1
        pause = self.opt.stage_retry_wait
        outcome = OK
        for number in range(tries):
            if number:
                self.log.line(f"Retrying in {pause:g}s")
                self.loop.wait(lambda: self.over, pause)
                pause = min(pause * 2, 300)
                if name == "get_sources":
                    self._sub(executor, "clear_worktree")
            outcome = self._sub(executor, name)
            if outcome or self.over:
                break
        return outcome

    def _build(self, executor):
        """The sub-stages of run, in their order."""
        opt = self.opt
        if opt.stages is not None:
            return self._given_stages(executor)
        outcome = self._sub(executor, "prepare_script")
        if not outcome:
            outcome.message = "prepare environment: " + outcome.message
            return outcome
        for name, variable, wanted in (
                ("get_sources", "GET_SOURCES", True),
                ("restore_cache", "RESTORE_CACHE", opt.cache),
                ("download_artifacts", "ARTIFACT_DOWNLOAD",
                 opt.download_artifacts)):
            if outcome and wanted:
                outcome = self._attempts(executor, name, variable)
        if outcome and not self.over:
            outcome = self._script(executor)
        good = bool(outcome)
        if opt.cache and opt.cache_when in (
                "always", "on_success" if good else "on_failure"):
            later = self._sub(executor, "archive_cache" if good
                              else "archive_cache_on_failure")
            outcome = outcome and later
        if opt.artifacts and opt.artifacts_when in (
                "always", "on_success" if good else "on_failure"):
            later = self._sub(executor, "upload_artifacts_on_" + (
                "success" if good else "failure"))
            outcome = outcome and later
        self._sub(executor, "cleanup_file_variables")
        return outcome

    def _script(self, executor):
        """The user's script and after_script."""
        self.phase = "script"
        limit = duration(os.fsdecode(self.data.get(b"RUNNER_SCRIPT_TIMEOUT")))
        outcome = self._sub(executor, self.opt.script_stage, limit)
        self.phase = "after"
        self.script_expired = bool(self.records[-1].get("limit"))
        if self.script_expired or (self.canceled and outcome):
            outcome = Outcome("system", None, "script ended")
        self._set_status(outcome)
        if self.data.after_script:
            limit = duration(os.fsdecode(
                self.data.get(b"RUNNER_AFTER_SCRIPT_TIMEOUT")))
            self._sub(executor, "after_script",
                      300 if limit is None else limit)
        return outcome

    def _set_status(self, outcome):
        """CI_JOB_STATUS from now on."""
        if self.over == "job_execution_timeout" or self.script_expired:
            self.data.status = "timedout"
        elif self.canceled or self.over == "canceled":
            self.data.status = "canceled"
        else:
            self.data.status = "success" if outcome else "failed"

    def _given_stages(self, executor):
        """--stages: these, in this order; after a failure only those that
        run after failures."""
        result = OK
        for name in self.opt.stages:
            if self.over or (not result and name not in ALWAYS
                             and not name.endswith("_on_failure")):
                continue
            begun = name == "build_script" or name.startswith("step_")
            self.phase = ("script" if begun else
                          "after" if self.phase != "prepare" else "prepare")
            outcome = self._sub(executor, name)
            if begun:
                self.phase = "after"
                self._set_status(result and outcome)
            if name not in ALWAYS:
                result = result and outcome
        return result

    # -- the report -------------------------------------------------------

    def _report(self, outcome):
        """Last line of the job log, the result, the exit status."""
        reason, code, message = None, None, outcome.message
        if self.over or self.canceled:
            reason = self.over or "canceled"
            message = {"canceled": "canceled", "job_execution_timeout":
                       "execution took longer than "
                       f"{self.data.timeout:g}s seconds",
                       "runner_interrupted": "aborted: interrupted"}[reason]
            line = f"ERROR: Job failed: {message}"
        elif self.script_expired:
            reason = "job_execution_timeout"
            message = "script timeout: context deadline exceeded"
            line = f"ERROR: Job failed: {message}"
        elif outcome.kind == "build":
            reason, code = "script_failure", outcome.code
            line = f"ERROR: Job failed: exit code {code or 0}"
        elif outcome.kind == "ok":
            line = "Job succeeded"
        else:
            reason = ("runner_configuration_error"
                      if outcome.kind == "config" else "runner_system_failure")
            line = f"ERROR: Job failed (system failure): {message}"
        self.log.line(line)
        self.result = {"status": "failed" if reason else "success",
                       "failure_reason": reason, "exit_code": code,
                       "message": message or None}
        self.save()
        if reason == "script_failure":
            return code if code and 1 <= code <= 255 else 1
        return EXIT[reason] if reason else 0

    def save(self):
        """Write the result file (whole, by rename)."""
        if not self.opt.result:
            return
        value = {**self.result, "job_id": self.data.job_id,
                 "seconds": round(time.monotonic() - self.began, 4),
                 "tries": max((r["try"] for r in self.records), default=0),
                 "unfired": self.events.unfired(), "stages": self.records}
        new = f"{self.opt.result}.new"
        with open(new, "w", encoding="utf-8",
                  errors="surrogateescape") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
        os.replace(new, self.opt.result)
