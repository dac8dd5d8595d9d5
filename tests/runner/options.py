"""The command line of tests/runner/runner."""

import argparse
import json
import os
import shlex
import tempfile

from events import Event
from jobdata import JobData, Variable

STAGES = ("config", "prepare", "run", "cleanup")

DESCRIPTION = """\
Play one CI job the way gitlab-runner 19.4 plays it with a Custom executor:
config, prepare, the sub-stages of run, cleanup, as strict as the real one
(own process group, /dev/null, two pipes read to their end without limit,
TERM - grace - KILL, three tries with cleanup after each failed one, strict
config JSON and exit-code file, the kernel's limits on the environment)."""

EPILOG = """\
WHERE of the events is STAGE[#N] alone, or STAGE[#N]+SECONDS, STAGE[#N]@TEXT
(TEXT came out of that stage), STAGE[#N]:FILE (FILE exists). STAGE is config,
prepare, cleanup or a sub-stage (get_sources, build_script, ...); #N its N-th
start. Each option may be given several times. --die-at kills the runner by
SIGKILL. SIGTERM and SIGINT to the runner are its shutdown, SIGQUIT does nothing.

exit status: 0 success; a failed script's own exit code (1..255; 1 for others);
100 system failure, configuration error or shutdown; 101 cancelled; 102 time-out;
64 wrong usage. --result tells the same without ambiguity.

example: runner --driver build/novajob --driver-arg --settings=/tmp/s.conf \\
  --script-line 'make check' --result result.json --cancel-at build_script@ready
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(64, f"{self.prog}: {message}\n")


class Options(argparse.Namespace):
    """The parsed options."""

    def argv(self, stage):
        """Executable and arguments of STAGE."""
        return [getattr(self, stage + "_exec")] + getattr(
            self, stage + "_args")


def _variable(**flags):
    def parse(text):
        try:
            return Variable.parse(text, **flags)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return parse


def _from_file(text):
    """NAME=PATH: a file-type variable holding PATH's content."""
    variable = _variable(file=True)(text)
    try:
        with open(variable.value, "rb") as file:
            variable.value = file.read()
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return variable


def _event(action):
    def parse(text):
        try:
            return Event(action, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return parse


def _lines(path):
    """A script file's lines, one command each."""
    try:
        with open(path, "rb") as file:
            return file.read().splitlines()
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _pair(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _driver_options(parser):
    """What is started."""
    group = parser.add_argument_group("the driver")
    group.add_argument("--driver", metavar="P", help="one program for all "
                       "stages: P [args] config|prepare|run|cleanup")
    group.add_argument("--args", type=shlex.split, default=[], metavar="TEXT",
                       help="global arguments, before the command word")
    group.add_argument("--driver-arg", action="append", default=[],
                       metavar="A", help="one such argument; repeatable")
    group.add_argument("--stage-arg", action="append", default=[],
                       metavar="A", help="one after the command word")
    for stage in STAGES:
        group.add_argument(f"--{stage}-exec", metavar="P")
        group.add_argument(f"--{stage}-args", type=shlex.split, default=[],
                           metavar="TEXT", help=f"{stage}_args, split as a "
                           "shell does")


def _job_options(parser):
    """What the job is."""
    group = parser.add_argument_group("the job")
    for name in ("job-id", "project-id", "runner-id", "slot"):
        group.add_argument("--" + name, type=int, metavar="N")
    for name in ("instance-uuid", "repo-url", "project-path", "ref", "image"):
        group.add_argument("--" + name, metavar="TEXT")
    group.add_argument("--protected", choices=("yes", "no", "missing",
                                               "absent"),
                       help="missing: null, absent: no such key")
    group.add_argument("--services", type=json.loads, metavar="JSON")
    group.add_argument("--timeout", type=float, metavar="SECONDS",
                       help="the job's time-out, default 3600")
    for name, flags, text in (
            ("--var", {}, "a job variable, expanded as the runner does"),
            ("--raw-var", {"raw": True}, "one that is not expanded"),
            ("--masked-var", {"masked": True, "raw": True},
             "one whose value is [MASKED] in the job log")):
        group.add_argument(name, dest="user", action="append", default=[],
                           type=_variable(**flags), metavar="NAME=VALUE",
                           help=text)
    group.add_argument("--var-file", dest="user", action="append",
                       type=_from_file, metavar="NAME=PATH",
                       help="a file-type variable with PATH's content")
    group.add_argument("--attempts", action="append", default=[], type=_pair,
                       metavar="GET_SOURCES=N", help="sets NAME_ATTEMPTS")
    for name in ("script", "after-script"):
        dest = name.replace("-", "_")
        group.add_argument("--" + name, dest=dest, action="append",
                           type=_lines, default=[], metavar="FILE",
                           help="commands, one per line")
        group.add_argument(f"--{name}-line", dest=dest, action="append",
                           type=lambda text: [os.fsencode(text)], metavar="L",
                           help="one command; repeatable")
    group.add_argument("--script-size", type=int, default=0, metavar="BYTES",
                       help="pad the script of build_script to BYTES")
    group.add_argument("--script-stage", default="build_script",
                       metavar="NAME", help="its name, e.g. step_script")
    group.add_argument("--raw-script", action="append", default=[],
                       type=_pair, metavar="STAGE=FILE",
                       help="FILE verbatim as the script of STAGE")
    group.add_argument("--stages", metavar="A,B,C",
                       help="just these sub-stages of run, in this order")
    group.add_argument("--cache", action="store_true", help="has a cache")
    group.add_argument("--artifacts", action="store_true",
                       help="has artifacts to upload")
    group.add_argument("--download-artifacts", action="store_true",
                       help="needs another job's artifacts")
    for name in ("cache", "artifacts"):
        group.add_argument(f"--{name}-when", default="on_success",
                           choices=("on_success", "on_failure", "always"))


def _runner_options(parser):
    """How the runner is set up."""
    group = parser.add_argument_group("the runner")
    group.add_argument("--env", action="append", default=[],
                       type=_variable(), metavar="NAME=VALUE",
                       help="in the runner's own environment")
    group.add_argument("--shell", default="bash",
                       help="bash or sh, as in config.toml")
    group.add_argument("--builds-dir", default="", metavar="DIR")
    group.add_argument("--cache-dir", default="", metavar="DIR")
    group.add_argument("--temp", default=tempfile.gettempdir(), metavar="DIR",
                       help="where the job's temporary folder is made")
    for name, default, text in (
            ("config-exec-timeout", 3600, ""),
            ("prepare-exec-timeout", 3600, ""),
            ("cleanup-exec-timeout", 3600, ""),
            ("graceful-kill-timeout", 600, "from TERM to KILL"),
            ("force-kill-timeout", 10, "from KILL to giving up"),
            ("retry-wait", 3, "between tries of prepare"),
            ("stage-retry-wait", 5, "first pause of --attempts, doubles"),
            ("abandon-after", 300, "from the end of the job context until "
             "cleanup begins though run is alive"),
            ("shutdown-timeout", 30, "from SIGTERM until the runner goes")):
        group.add_argument("--" + name, type=float, default=default,
                           metavar="S", help=f"{text} (default {default})")
    group.add_argument("--sections", action="store_true", help="the job log "
                       "with the runner's sections and colours")
    group.add_argument("--log", metavar="FILE",
                       help="the job log; default stdout, live")
    group.add_argument("--runner-log", metavar="FILE",
                       help="the runner's own; default stderr")
    group.add_argument("--debug", action="store_true",
                       help="DEBUG entries too (cleanup's stdout)")
    group.add_argument("--result", metavar="FILE", help="JSON result")
    for action in ("cancel", "force-cancel", "die", "shutdown"):
        group.add_argument(f"--{action}-at", dest="events", action="append",
                           type=_event(action), default=[], metavar="WHERE")


def _set_driver(parser, opt):
    """--driver stands for the eight options."""
    for stage in STAGES:
        if opt.driver and not getattr(opt, stage + "_exec"):
            setattr(opt, stage + "_exec", opt.driver)
            setattr(opt, stage + "_args", opt.args + opt.driver_arg + [stage]
                    + opt.stage_arg + getattr(opt, stage + "_args"))
        path = getattr(opt, stage + "_exec")
        if path and "/" in path:
            setattr(opt, stage + "_exec", os.path.abspath(path))
    if not opt.run_exec:
        parser.error("--driver or --run-exec is needed")


def parse(arguments):
    """The command line as (Options, JobData)."""
    parser = _Parser(prog="runner", description=DESCRIPTION, epilog=EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter,
                     allow_abbrev=False)
    _driver_options(parser)
    _job_options(parser)
    _runner_options(parser)
    opt = parser.parse_args(arguments, Options())
    _set_driver(parser, opt)
    opt.raw_script = dict(opt.raw_script)
    opt.temp = os.path.abspath(opt.temp)
    if opt.stages is not None:
        opt.stages = [name for name in opt.stages.split(",") if name]
    data = JobData()
    for name in ("job_id", "project_id", "runner_id", "slot", "instance_uuid",
                 "repo_url", "project_path", "ref", "protected", "services",
                 "timeout", "image"):
        value = getattr(opt, name)
        if value is not None:
            setattr(data, name, value)
    data.user = opt.user + [
        Variable(f"{name}_ATTEMPTS".encode(), value.encode())
        for name, value in opt.attempts]
    data.script = [line for lines in opt.script for line in lines]
    data.after_script = [line for lines in opt.after_script for line in lines]
    return opt, data
