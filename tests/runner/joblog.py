"""The job log (masked, raw bytes) and the runner's own log."""

import contextlib
import os
import sys
import time

RESET, CYAN = b"\x1b[0;m", b"\x1b[36;1m"
CLEAR = b"\x1b[0K"
COLOURS = ((b"ERROR: ", b"\x1b[31;1m"), (b"WARNING: ", b"\x1b[0;33m"),
           (b"Job succeeded", b"\x1b[32;1m"),
           (b"Will be retried", b"\x1b[32;1m"))


class Mask:
    """Replaces secrets in one stream, also when a chunk ends within one."""

    def __init__(self, secrets):
        self.secrets = sorted((s for s in secrets if s), key=len, reverse=True)
        self.tail = b""

    def feed(self, data):
        """What of the stream may be shown now; b"" as DATA is the end."""
        if not self.secrets:
            return data
        last = not data
        text = self.tail + data
        self.tail = b""
        for secret in self.secrets:
            text = text.replace(secret, b"[MASKED]")
        if last:
            return text
        keep = max(self._overlap(text, secret) for secret in self.secrets)
        if keep:
            self.tail = text[-keep:]
            text = text[:-keep]
        return text

    @staticmethod
    def _overlap(text, secret):
        """Length of the longest end of TEXT that begins SECRET."""
        for size in range(min(len(secret) - 1, len(text)), 0, -1):
            if text.endswith(secret[:size]):
                return size
        return 0


class Output:
    """A log: a file descriptor written to at once, whole."""

    def __init__(self, path, fallback):
        self.fd = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                           | os.O_APPEND | os.O_CLOEXEC, 0o644)
                   if path else fallback.fileno())
        self.lost = False

    def write(self, data):
        """Write DATA; a reader that has gone is no reason to stop the job."""
        view = memoryview(data)
        while view and not self.lost:
            try:
                view = view[os.write(self.fd, view):]
            except BrokenPipeError:
                self.lost = True


class JobLog:
    """What goes to GitLab; with sections as the runner writes it, else text
    alone."""

    def __init__(self, path, secrets, sections=False):
        self.out = Output(path, sys.stdout)
        self.secrets = secrets
        self.sections = sections
        self.midline = False

    def stream(self):
        """A new masked stream: a function taking bytes."""
        mask = Mask(self.secrets)

        def feed(data):
            text = mask.feed(data)
            if text:
                self.out.write(text)
                self.midline = not text.endswith(b"\n")
        return feed

    def line(self, text):
        """A line of the runner's own, always begun on a new line."""
        data = Mask(self.secrets)
        raw = text.encode("utf-8", "surrogateescape") + b"\n"
        shown = data.feed(raw) + data.feed(b"")
        if self.sections:
            colour = next((c for start, c in COLOURS
                           if shown.startswith(start)), CLEAR)
            shown = colour + shown[:-1] + RESET + b"\n"
        self.out.write((b"\n" if self.midline else b"") + shown)
        self.midline = False

    def _marker(self, what, name):
        """A section's marker; no newline follows it."""
        self.out.write(f"section_{what}:{int(time.time())}:{name}\r".encode()
                       + CLEAR)
        self.midline = False

    @contextlib.contextmanager
    def section(self, name, title):
        """What is done in it is under TITLE."""
        if not self.sections:
            self.line(title)
            yield
            return
        self._marker("start", name)
        self.out.write(CLEAR + CYAN + title.encode() + RESET + b"\n")
        try:
            yield
        finally:
            self._marker("end", name)


class RunnerLog:
    """The runner process's log; nothing is masked in it."""

    def __init__(self, path, fields, debug):
        self.out = Output(path, sys.stderr)
        self.fields = fields
        self.debug = debug

    def entry(self, level, text, **more):
        """One entry: LEVEL: TEXT  key=value ..."""
        if level == "DEBUG" and not self.debug:
            return
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogateescape")
        fields = {**self.fields, **more,
                  "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        tail = " ".join(f"{key}={value}" for key, value in fields.items())
        self.out.write(level.encode() + b": " + text + b"  "
                       + tail.encode("utf-8", "surrogateescape") + b"\n")

    def lines(self, level, **more):
        """A function taking bytes of a stream: one entry for each line."""
        rest = bytearray()

        def feed(data):
            rest.extend(data)
            *whole, last = bytes(rest).split(b"\n")
            rest[:] = last
            if not data and rest:
                whole.append(bytes(rest))
                rest.clear()
            for line in whole:
                self.entry(level, line.rstrip(b"\r"), **more)
        return feed
