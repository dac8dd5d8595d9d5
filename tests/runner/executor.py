"""One try of the Custom executor: temporary folder and the four stages."""

import os
import random
import shutil
import signal
import time

from answer import Config, ConfigError, SHELLS, parse_config, parse_exit_code
from process import Child, StartError
import script


class Outcome:
    """How a stage ended: kind is ok, build, system or config (a
    runner_configuration_error); code is the number for GitLab or None."""

    def __init__(self, kind, code=None, message=""):
        self.kind, self.code, self.message = kind, code, message

    def __bool__(self):
        return self.kind == "ok"


OK = Outcome("ok")


def judge(child, exit_code_file):
    """The Outcome of a stage that is over (contract, section 4)."""
    if not child.done():
        return Outcome("system", None, "failed to kill process "
                       f"PID={child.pid}, likely process is dormant")
    code = child.returncode
    if code == 0:
        return OK
    if code == 1:
        number = parse_exit_code(exit_code_file)
        if number is None:
            return Outcome("system", None, "exit status 1: "
                           "BUILD_EXIT_CODE_FILE does not hold a number")
        return Outcome("build", number or None, "exit status 1")
    if code == 2:
        return Outcome("system", None, "exit status 2")
    how = (f"exit status {code}" if code > 0 else
           "signal: " + signal.strsignal(-code).lower())
    return Outcome("system", None, "unknown Custom executor executable exit "
                   f"code {max(code, -1)}; executable execution terminated "
                   f"with: {how}")


class Executor:
    """The stages of one try, all in the same temporary folder."""

    def __init__(self, job, number):
        self.job, self.opt, self.data = job, job.opt, job.data
        self.number = number
        self.config = Config()
        self.shell = self.opt.shell
        self.tmp = self._make_tmp()
        self.response = self.exit_code_file = ""
        if self.tmp:
            self.exit_code_file = f"{self.tmp}/build_exit_code"
            self.response = f"{self.tmp}/response{_digits()}"
            fd = os.open(self.response, os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                         0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(self.data.response())

    def _make_tmp(self):
        """custom-executor<digits>, 0700; "" when it cannot be made."""
        path = os.path.join(self.opt.temp, "custom-executor" + _digits())
        try:
            os.mkdir(path, 0o700)
        except OSError:
            return ""
        return path

    def remove_tmp(self):
        """After cleanup nothing of the try stays."""
        if self.tmp:
            shutil.rmtree(self.tmp, ignore_errors=True)

    def _environment(self):
        """(name, value) pairs in the runner's order."""
        encode = os.fsencode
        result = list(os.environb.items())
        result += [(v.key, v.value) for v in self.opt.env]
        result += [(encode(k), encode(v)) for k, v in (
            ("TMPDIR", self.tmp), ("BUILD_FAILURE_EXIT_CODE", "1"),
            ("SYSTEM_FAILURE_EXIT_CODE", "2"),
            ("BUILD_EXIT_CODE_FILE", self.exit_code_file),
            ("JOB_RESPONSE_FILE", self.response))]
        result += [(k.encode(), v.encode())
                   for k, v in self.config.job_env.items()]
        return result + self.data.environment()

    def _stage(self, name, argv, stdout, stderr, limit=None, kind="run"):
        """Run one stage to its end and judge it."""
        job = self.job
        record = {"stage": name, "try": self.number, "argv": argv,
                  "start": time.time(), "seconds": None, "exit": None,
                  "signaled": False, "signal": None, "outcome": None,
                  "bytes": {"stdout": 0, "stderr": 0}}
        job.records.append(record)
        sinks = {"stdout": stdout, "stderr": stderr}

        def output(stream, data):
            sinks[stream](data)
            if job.current is child:
                job.events.output(stream, data)

        child = None
        try:
            child = Child(job.loop, argv, self._environment(), self.tmp or
                          None, output, job.warn)
        except StartError as error:
            record.update(outcome="system", seconds=0.0, message=str(error))
            return Outcome("system", None, str(error))
        job.begin(child, kind, name)
        timer = None
        if limit is not None:
            def expired():
                record["limit"] = True
                job.stop(child)
            timer = job.loop.call_later(limit, expired)
        job.loop.wait(lambda: child.over() or (
            kind == "run" and job.abandoned()))
        if timer:
            timer[2] = None
        job.finished(child)
        outcome = judge(child, self.exit_code_file)
        if not child.over():
            outcome = Outcome("system", None, "timed out waiting for the "
                              "build to finish")
            job.left.append((child, record))
        note(record, child)
        record.update(outcome=outcome.kind, message=outcome.message,
                      abandoned=not child.over())
        job.save()
        return outcome

    def configure(self):
        """The config stage and all that depends on its answer."""
        if self.opt.config_exec:
            raw = bytearray()
            outcome = self._stage("config", self.opt.argv("config"),
                                  raw.extend, self.job.log.stream(),
                                  self.opt.config_exec_timeout, "config")
            if not outcome:
                return outcome
            try:
                self.config = parse_config(bytes(raw))
            except ConfigError as error:
                return Outcome("system", None, str(error))
        given = self.config
        builds, cache = given.builds_dir, given.cache_dir
        builds = self.opt.builds_dir if builds is None else builds
        cache = self.opt.cache_dir if cache is None else cache
        if given.driver_name:
            version = given.driver_version
            self.job.log.line("Using Custom executor with driver "
                              + given.driver_name
                              + (f" {version}" if version else "") + "...")
        else:
            self.job.log.line("Using Custom executor...")
        for name, value in (("builds_dir", builds), ("cache_dir", cache)):
            if not value:
                return Outcome("config", None,
                               f"the {name} is not configured")
        self.data.set_dirs(builds, cache, given.builds_dir_is_shared)
        if given.hostname is not None:
            self.data.hostname = given.hostname.encode()
        self.shell = given.shell or self.shell
        if self.shell not in SHELLS:
            return Outcome("system", None, f"shell {self.shell} not found")
        return OK

    def prepare(self):
        """The prepare stage."""
        if not self.opt.prepare_exec:
            return OK
        return self._stage("prepare", self.opt.argv("prepare"),
                           self.job.log.stream(), self.job.log.stream(),
                           self.opt.prepare_exec_timeout, "prepare")

    def run(self, name, limit=None):
        """One sub-stage of run, with its script written anew."""
        folder = f"{self.tmp}/script{_digits()}"
        os.mkdir(folder, 0o700)
        path = f"{folder}/script"
        if name in self.opt.raw_script:
            with open(self.opt.raw_script[name], "rb") as file:
                text = file.read()
        elif self.shell in ("bash", "sh"):
            text = script.generate(name, self.data, self.opt.script_size
                                   if name in ("build_script", "step_script")
                                   else 0, self.shell)
        else:
            path += ".ps1"
            text = b"#!/usr/bin/env pwsh\n& {\n\n}\n"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
        return self._stage(name, self.opt.argv("run") + [path, name],
                           self.job.log.stream(), self.job.log.stream(),
                           limit)

    def cleanup(self):
        """The cleanup stage; its result is no more than a line."""
        if self.opt.cleanup_exec:
            log = self.job.runner_log
            outcome = self._stage(
                "cleanup", self.opt.argv("cleanup"),
                log.lines("DEBUG", cleanup_std="out"),
                log.lines("WARNING", cleanup_std="err"),
                self.opt.cleanup_exec_timeout, "cleanup")
            if not outcome:
                self.job.log.line("WARNING: Cleanup script failed: "
                                  + outcome.message)
        self.remove_tmp()


def note(record, child):
    """Put what is known of CHILD into its result RECORD."""
    code = child.returncode
    killed = code is not None and code < 0
    record.update(
        start=child.wall, seconds=round(child.seconds(), 4),
        leader_seconds=child.leader_seconds and round(child.leader_seconds, 4),
        pid=child.pid, exit=None if killed else code, signaled=killed,
        signal=-code if killed else None, bytes=dict(child.bytes),
        terminated=child.terminated, gave_up=child.gave_up)


def _digits():
    return str(random.randrange(10**8, 10**10))
