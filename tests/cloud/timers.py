"""Things that happen later: one thread with a heap, a few to do the work."""
import heapq
import itertools
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor


class Timers:
    def __init__(self, workers=6):
        self._cond = threading.Condition()
        self._heap = []
        self._order = itertools.count()
        self._pool = ThreadPoolExecutor(workers)
        self._ended = False
        threading.Thread(target=self._run, daemon=True).start()

    def after(self, seconds, func, *args):
        """Calls func(*args) in a thread of the pool, not before `seconds`."""
        when = time.monotonic() + max(0, seconds)
        with self._cond:
            heapq.heappush(self._heap, (when, next(self._order), func, args))
            self._cond.notify()

    def end(self):
        """No further call begins; waits for those under way."""
        with self._cond:
            self._ended = True
            self._cond.notify()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self):
        while True:
            with self._cond:
                if self._ended:
                    return
                now = time.monotonic()
                if not self._heap:
                    self._cond.wait()
                    continue
                if self._heap[0][0] > now:
                    self._cond.wait(self._heap[0][0] - now)
                    continue
                _, _, func, args = heapq.heappop(self._heap)
                self._pool.submit(_call, func, args)


def _call(func, args):
    try:
        func(*args)
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stderr)
