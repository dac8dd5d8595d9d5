"""Makes scripts of the very form gitlab-runner's bash shell makes them.

A script is (contract.md, section 6): "#!/usr/bin/env bash"; a trap of TERM
that exits 1; pipefail, errexit, noclobber off; one subshell with stdin from
/dev/null that evals everything else as a single $'...' word; "exit 0".
generate() is the module's entry, the command `script` its other one.
"""

import argparse
import re
import sys

from jobdata import JobData, Variable

BOLD_GREEN, BOLD_RED, YELLOW, RESET = (
    b"\033[32;1m", b"\033[31;1m", b"\033[0;33m", b"\033[0;m")
PLAIN = re.compile(rb"[A-Za-z0-9_@%+=:,./-]+")
SPECIAL = re.compile(rb"[^ -&(-\[\]-~]")
NAMED = {7: rb"\a", 8: rb"\b", 9: rb"\t", 10: rb"\n", 11: rb"\v",
         12: rb"\f", 13: rb"\r", 39: rb"\'", 92: rb"\\"}
ESCAPES = {bytes([n]): NAMED.get(n, b"\\x%02x" % n) for n in range(256)}
TAIL = b") < /dev/null\nexit 0\n"


def head(shell, trace=False):
    """Everything before the quoted word."""
    return (b"#!/usr/bin/env " + shell.encode() + b"\n\ntrap exit 1 TERM\n\n"
            + (b"set -o xtrace\n" if trace else b"")
            + b"if set -o | grep pipefail > /dev/null; then set -o pipefail; "
              b"fi; set -o errexit\nset +o noclobber\n(eval ")


def quote(text):
    """TEXT as one word of bash, as helpers.ShellEscape of the runner."""
    if not text:
        return b"''"
    if PLAIN.fullmatch(text):
        return text
    return b"$'" + SPECIAL.sub(lambda m: ESCAPES[m[0]], text) + b"'"


def double(text):
    """TEXT in double quotes, as Go's %q does it for paths."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


class Writer:
    """Collects the lines which are evaled."""

    def __init__(self, job):
        self.job = job
        self.text = []

    def line(self, text):
        """One line as it is."""
        self.text.append(text + b"\n")

    def command(self, *words):
        """A command of quoted words."""
        self.line(b" ".join(quote(word) for word in words))

    def say(self, text, colour=RESET, end=b""):
        """Print TEXT in COLOUR."""
        self.line(b"echo " + quote(colour + text + end))

    def exports(self):
        """Every job variable; those of type file are written first."""
        for variable in self.job.variables():
            if variable.file:
                path = self.job.file_path(variable)
                self.line(b"mkdir -p " + double(self.job.tmp_dir()))
                self.line(b"printf '%s' " + quote(variable.value) + b" > "
                          + double(path))
                self.line(b"export " + quote(variable.key) + b"="
                          + double(path))
            else:
                self.line(b"export " + quote(variable.key) + b"="
                          + quote(variable.value))

    def user_commands(self, lines):
        """Each command shown in green as `$ command`, then run."""
        for line in lines:
            first, newline, _ = line.partition(b"\n")
            shown = b"$ " + first + (b" # collapsed multi-line command"
                                     if newline else b"")
            if line.strip():
                self.say(shown, BOLD_GREEN, RESET)
            self.line(line)


def _prepare_script(out):
    host = out.job.hostname
    via = b" via " + host + b"..." if host else b"..."
    out.line(b'echo "Running on $(hostname)'
             + via.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')


def _get_sources(out):
    """GIT_STRATEGY none (the default here: no network) or empty."""
    out.exports()
    if out.job.get(b"GIT_STRATEGY") == b"empty":
        out.say(b"Skipping Git repository setup and creating an empty "
                b"build directory", BOLD_GREEN, RESET)
        out.command(b"rm", b"-r", b"-f", out.job.project_dir())
    else:
        out.say(b"Skipping Git repository setup", BOLD_GREEN, RESET)
    out.command(b"mkdir", b"-p", out.job.project_dir())
    out.command(b"cd", out.job.project_dir())
    out.say(b"Skipping Git checkout", BOLD_GREEN, RESET)
    out.say(b"Skipping Git submodules setup", BOLD_GREEN, RESET)


def _clear_worktree(out):
    out.exports()
    out.command(b"rm", b"-r", b"-f", out.job.project_dir())


def _helper(out, start, missing, *arguments):
    """What the helper binary would do, if the machine has it."""
    out.exports()
    out.command(b"cd", out.job.project_dir())
    out.line(b"if gitlab-runner --version >/dev/null 2>&1; then")
    out.say(start, BOLD_GREEN, RESET)
    out.command(b"gitlab-runner", *arguments)
    out.line(b"else")
    out.say(b"Missing gitlab-runner. " + missing + b" is disabled.", YELLOW,
            RESET)
    out.line(b"fi")


def _restore_cache(out):
    _helper(out, b"Checking cache for default...", b"Extracting cache",
            b"cache-extractor", b"--file", b"../../../cache/default/cache.zip",
            b"--timeout", b"10")


def _archive_cache(out):
    _helper(out, b"Creating cache default...", b"Creating cache",
            b"cache-archiver", b"--file", b"../../../cache/default/cache.zip",
            b"--timeout", b"10", b"--path", b"cache/")


def _download_artifacts(out):
    _helper(out, b"Downloading artifacts for build (1)...",
            b"Artifacts downloading", b"artifacts-downloader", b"--url",
            out.job.get(b"CI_SERVER_URL"), b"--token",
            out.job.get(b"CI_JOB_TOKEN"), b"--id", b"1")


def _upload_artifacts(out):
    _helper(out, b"Uploading artifacts...", b"Uploading artifacts",
            b"artifacts-uploader", b"--url", out.job.get(b"CI_SERVER_URL"),
            b"--token", out.job.get(b"CI_JOB_TOKEN"), b"--id",
            out.job.get(b"CI_JOB_ID"), b"--path", b"out/",
            b"--artifact-format", b"zip", b"--artifact-type", b"archive")


def _build_script(out):
    out.exports()
    out.command(b"cd", out.job.project_dir())
    out.user_commands(out.job.script)


def _after_script(out):
    out.exports()
    out.command(b"cd", out.job.project_dir())
    out.say(b"Running after script...", BOLD_GREEN, RESET)
    out.user_commands(out.job.after_script)


def _cleanup_file_variables(out):
    for variable in out.job.variables():
        if variable.file:
            out.command(b"rm", b"-f", out.job.file_path(variable))
    out.command(b"rm", b"-f", out.job.tmp_dir() + b"/gitlab_runner_env")


STAGES = {
    "prepare_script": _prepare_script,
    "get_sources": _get_sources,
    "clear_worktree": _clear_worktree,
    "restore_cache": _restore_cache,
    "download_artifacts": _download_artifacts,
    "build_script": _build_script,
    "step_script": _build_script,
    "after_script": _after_script,
    "archive_cache": _archive_cache,
    "archive_cache_on_failure": _archive_cache,
    "upload_artifacts_on_success": _upload_artifacts,
    "upload_artifacts_on_failure": _upload_artifacts,
    "cleanup_file_variables": _cleanup_file_variables,
}


def _padding(size):
    """Comment lines that come out as exactly SIZE bytes once quoted.

    A line of n bytes and its newline take n + 2 bytes of the script, so a
    rest of 1 cannot be a line of its own: the last line takes it up.
    """
    lines = []
    while size >= 3:
        take = size if size <= 103 else 100
        lines.append(b"#" + b"x" * (take - 3) + b"\n")
        size -= take
    return b"".join(lines), size


def generate(stage, job, size=0, shell="bash"):
    """The script of sub-stage STAGE for JOB; at least SIZE bytes, exactly so
    when it is not longer already. Unknown names (step_x) are user scripts."""
    out = Writer(job)
    STAGES.get(stage, _build_script)(out)
    body = b"".join(out.text)
    trace = job.get(b"CI_DEBUG_TRACE") in (b"true", b"1")
    begin = head(shell, trace)

    def whole(text):
        return begin + quote(text) + TAIL
    missing = size - len(whole(b"\n" + body)) + 2
    if missing < 3:
        return whole(body)
    pad, rest = _padding(missing)
    return whole(pad + b" " * rest + body)


def main(arguments):
    """The command: prints a script on stdout."""
    parser = argparse.ArgumentParser(
        prog="script", allow_abbrev=False,
        description="Print a script as gitlab-runner gives it to run_exec. "
        "Example: script --size 200000 --line 'make check' > build_script")
    parser.add_argument("stage", nargs="?", default="build_script",
                        help="sub-stage, default build_script; one of "
                        + ", ".join(STAGES))
    parser.add_argument("--size", type=int, default=0, metavar="N",
                        help="pad with comments to N bytes in all")
    parser.add_argument("--line", action="append", default=[],
                        help="a command of the user's script; repeatable")
    parser.add_argument("--file", help="the user's commands, one per line")
    parser.add_argument("--var", action="append", default=[],
                        metavar="NAME=VALUE", help="a job variable")
    parser.add_argument("--shell", choices=("bash", "sh"), default="bash")
    parser.add_argument("--builds-dir", default="/builds")
    parser.add_argument("--hostname", default="")
    given = parser.parse_args(arguments)
    job = JobData()
    job.set_dirs(given.builds_dir, "/cache", False)
    job.hostname = job.encode(given.hostname)
    lines = [job.encode(line) for line in given.line]
    if given.file:
        with open(given.file, "rb") as file:
            lines = file.read().splitlines() + lines
    job.script = job.after_script = lines
    job.user += [Variable.parse(text) for text in given.var]
    sys.stdout.buffer.write(generate(given.stage, job, given.size,
                                     given.shell))
    return 0
