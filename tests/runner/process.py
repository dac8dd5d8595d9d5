"""Children of the runner, started and ended the way gitlab-runner does it.

Loop   one selector for all pipes, timers and signals; never a busy wait.
Child  one stage: own process group, /dev/null as stdin, two pipes which are
       read to their end *without limit*. A stage is over when its leader has
       been reaped AND both pipes are at EOF, so whoever holds a pipe holds
       the stage. terminate() is TERM - grace - KILL - force - give up, to the
       whole group (contract, section 7).
"""

import errno
import heapq
import itertools
import os
import selectors
import shutil
import signal
import subprocess
import time

CHUNK = 256 * 1024


class StartError(Exception):
    """The executable could not be started ("failed to start command")."""


class Loop:
    """Waits for pipes, child exits, signals and timers."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.children = []
        self.timers = []
        self.sequence = itertools.count()
        self.signals = []
        self.on_signal = None
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wake = reader
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ, None)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def watch_signal(self, number):
        """Hand signal NUMBER to on_signal, from within wait()."""
        signal.signal(number, lambda n, _: self.signals.append(n))

    def call_later(self, seconds, function):
        """Call FUNCTION in SECONDS; the returned list's [2] may be set None."""
        timer = [time.monotonic() + seconds, next(self.sequence), function]
        heapq.heappush(self.timers, timer)
        return timer

    def wait(self, done, seconds=None):
        """Run until done() is true or SECONDS are over; says whether done."""
        end = None if seconds is None else time.monotonic() + seconds
        while not done():
            if end is not None and time.monotonic() >= end:
                return False
            self._step(end)
        return True

    def _step(self, end):
        """One round: sleep until something happens, then deal with it."""
        times = [t for t in (end, self.timers[0][0] if self.timers else None)
                 if t is not None]
        pause = max(0.0, min(times) - time.monotonic()) if times else None
        for key, _ in self.selector.select(pause):
            if key.data is None:
                try:
                    os.read(self.wake, 4096)
                except BlockingIOError:
                    pass
            else:
                key.data(key.fileobj)
        for child in self.children:
            child.reap()
        while self.signals:
            number = self.signals.pop(0)
            if self.on_signal:
                self.on_signal(number)
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            function = heapq.heappop(self.timers)[2]
            if function:
                function()


def resolve(name):
    """A bare NAME is looked up in the *runner's* PATH, as Go does it."""
    if "/" in name:
        return name
    found = shutil.which(name)
    if not found:
        raise StartError(f'failed to start command: exec: "{name}": '
                         "executable file not found in $PATH")
    return found


def environment(entries):
    """The environment of (name, value) byte pairs: last of a name wins.

    Like Go, an entry is the text NAME=VALUE, its name ends at the first "=",
    and the place of the last one of a name is kept.
    """
    result = {}
    for name, value in entries:
        text = name + b"=" + value
        if b"\0" in text:
            raise StartError("failed to start command: exec: environment "
                             "variable contains NUL")
        key, _, rest = text.partition(b"=")
        result.pop(key, None)
        result[key] = rest
    return result


class Child:
    """A started stage."""

    def __init__(self, loop, argv, env, cwd, on_output, on_warning):
        self.loop = loop
        self.argv = argv
        self.on_output = on_output
        self.on_warning = on_warning
        self.returncode = None
        self.leader_seconds = None
        self.finished_at = None
        self.terminated = False
        self.gave_up = False
        self.bytes = {"stdout": 0, "stderr": 0}
        self.timer = None
        path = resolve(argv[0])
        env = environment(env)
        self.started = time.monotonic()
        self.wall = time.time()
        try:
            self.popen = subprocess.Popen(
                argv, executable=path, env=env, cwd=cwd, bufsize=0,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, process_group=0)
        except (OSError, ValueError) as error:
            text = (os.strerror(error.errno).lower()
                    if isinstance(error, OSError) and error.errno
                    else str(error))
            raise StartError("failed to start command: "
                             f"fork/exec {path}: {text}") from error
        self.pid = self.popen.pid
        self.open = 2
        loop.children.append(self)
        for name in ("stdout", "stderr"):
            pipe = getattr(self.popen, name)
            os.set_blocking(pipe.fileno(), False)
            loop.selector.register(pipe, selectors.EVENT_READ,
                                   lambda f, n=name: self._readable(f, n))

    def _readable(self, pipe, name):
        """Take one chunk of a pipe, or its end."""
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if data:
            self.bytes[name] += len(data)
            self.on_output(name, data)
            return
        self.loop.selector.unregister(pipe)
        pipe.close()
        self.open -= 1
        self.on_output(name, b"")
        self._check_finished()

    def reap(self):
        """Notice the leader's end."""
        if self.returncode is None:
            self.returncode = self.popen.poll()
            if self.returncode is not None:
                self.leader_seconds = time.monotonic() - self.started
                self._check_finished()

    def _check_finished(self):
        if self.done() and self.finished_at is None:
            self.finished_at = time.monotonic()
            if self.timer:
                self.timer[2] = None
            if self in self.loop.children:
                self.loop.children.remove(self)

    def done(self):
        """Leader reaped and both pipes at their end."""
        return self.returncode is not None and self.open == 0

    def over(self):
        """Done, or given up as not to be killed."""
        return self.done() or self.gave_up

    def _signal(self, number, what):
        """Signal the group; a failure is a warning in the job log."""
        try:
            os.killpg(self.pid, number)
        except OSError as error:
            self.on_warning(f"Failed to {what} process PID={self.pid} "
                            f"error={os.strerror(error.errno).lower()}")

    def terminate(self, graceful, force):
        """Begin to end the stage; the loop's timers do the rest."""
        if self.terminated or self.over():
            return
        self.terminated = True
        self._signal(signal.SIGTERM, "terminate")

        def give_up():
            self.gave_up = True

        def kill():
            self._signal(signal.SIGKILL, "force-kill")
            self.timer = self.loop.call_later(force, give_up)

        self.timer = self.loop.call_later(graceful, kill)

    def seconds(self):
        """How long the stage took (so far)."""
        return (self.finished_at or time.monotonic()) - self.started
