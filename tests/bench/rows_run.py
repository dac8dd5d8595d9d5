"""The run stage, beside ssh by itself: both over the same connection, with the same script, in turn."""
import subprocess
import time

from rows import Result, Row, above_floor
from statistics import median

ORDER = 10


def timed(argv, stdin, env=None):
    started = time.perf_counter()
    done = subprocess.run(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=True)
    return (time.perf_counter() - started) * 1000, done.stdout


def stage(size):
    def measure(world):
        job, script = world.shared(), world.script(size)
        argv = job.argv('run', script, 'build_script')
        plain = job.ssh(f'cat >{world.path("plain")} && exec bash {world.path("plain")}')
        by_pipe = job.ssh('exec bash -s')
        ours, floor, pipe = [], [], []
        for n in range(world.times + 2):
            with open(script, 'rb') as f:
                t_ours, out = timed(argv, subprocess.DEVNULL, job.env)
                t_floor, same = timed(plain, f)
                f.seek(0)
                t_pipe, _ = timed(by_pipe, f)
            assert out == same, 'the script printed something else'
            if n >= 2:
                ours.append(t_ours)
                floor.append(t_floor)
                pipe.append(t_pipe)
        return Result(median(ours), median(floor), f'ssh SERVER bash -s <SCRIPT: {median(pipe):.1f} ms')
    return measure


ROWS = [
    Row('run stage, empty script', 'ms', above_floor(5, 'ms'), stage(0)),
    Row('run stage, script of 20 KB', 'ms', above_floor(5, 'ms'), stage(20000)),
    Row('run stage, script of 200 KB', 'ms', above_floor(5, 'ms'), stage(200000)),
]
