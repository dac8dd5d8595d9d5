"""Things done to a job from outside, at a point that is a condition.

WHERE is STAGE[#N] with one of
    (nothing)   as soon as the stage's process runs
    +SECONDS    so long after that, if the stage still runs
    @TEXT       when TEXT came out of the stage (stdout or stderr)
    :FILE       when FILE exists, looked up every 20 ms while the stage runs
STAGE is config, prepare, cleanup or a sub-stage of run; #N its N-th start.
"""

import os
import re

POLL = 0.02
FORM = re.compile(r"([a-z_A-Z0-9]+)(?:#(\d+))?(?:([+@:])(.+))?", re.DOTALL)


class Event:
    """One event: what is to be done, and where."""

    def __init__(self, action, where):
        match = FORM.fullmatch(where)
        if not match:
            raise ValueError(f"{where!r} is not STAGE[#N][+SECONDS|@TEXT|"
                             ":FILE]")
        self.action, self.where = action, where
        self.stage, number, self.kind, self.value = match.groups()
        self.number = int(number or 1)
        if self.kind == "+":
            self.value = float(self.value)
        self.seen = 0
        self.tails = {}
        self.fired = False

    def find(self, stream, data):
        """Whether TEXT is in STREAM now, chunk borders included."""
        wanted = os.fsencode(self.value)
        text = self.tails.get(stream, b"") + data
        self.tails[stream] = text[-len(wanted):]
        return wanted in text


class Events:
    """All events of a job; fire(action) is called in the loop."""

    def __init__(self, loop, events, fire):
        self.loop, self.events, self.fire = loop, events, fire
        self.armed = []
        self.stage = None

    def started(self, stage):
        """STAGE's process runs: arm what waits for it."""
        self.stage = stage
        self.armed = []
        for event in self.events:
            if event.stage != stage or event.fired:
                continue
            event.seen += 1
            if event.seen != event.number:
                continue
            self.armed.append(event)
            if event.kind in (None, "+"):
                self.loop.call_later(event.value or 0,
                                     lambda e=event: self._fire(e))
            elif event.kind == ":":
                self._poll(event)

    def ended(self):
        """The stage is over: what has not happened will not."""
        self.armed = []

    def output(self, stream, data):
        """The stage printed DATA."""
        for event in list(self.armed):
            if event.kind == "@" and event.find(stream, data):
                self._fire(event)

    def _poll(self, event):
        if event not in self.armed:
            return
        if os.path.exists(event.value):
            self._fire(event)
        else:
            self.loop.call_later(POLL, lambda: self._poll(event))

    def _fire(self, event):
        if event in self.armed and not event.fired:
            event.fired = True
            self.armed.remove(event)
            self.fire(event.action)

    def unfired(self):
        """The events that never happened, as given."""
        return [f"{e.action}:{e.where}" for e in self.events if not e.fired]
