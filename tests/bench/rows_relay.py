"""The relay: throughput, latency, memory, and what silence costs."""
import os
import subprocess
import time

from rows import Result, Row, at_most, of_floor
from statistics import median

ORDER = 20
BLOCK = 50 * 1000 * 1000
PAIRS = 7


def printing(world, line):
    """The commands that print world.bytes in lines of so many bytes, newline included."""
    path = world.path(f'lines-{line}')
    size = min(BLOCK, world.bytes) // line * line
    if not os.path.exists(path):
        with open(path, 'wb') as f:
            for _ in range(size // line):
                f.write(b'x' * (line - 1) + b'\n')
    times = max(1, world.bytes // size)
    return f'for i in {{1..{times}}}; do cat {path}; done', times * size


def drain(fd, want, at_end=None):
    """Read it to its end, as fast as it comes; the bytes. at_end is called before the last of them is taken."""
    got = 0
    while True:
        data = os.read(fd, 1 << 16)
        if not data:
            return got
        got += len(data)
        if at_end is not None and got >= want * 0.9:
            at_end()
            at_end = None


def peak(pid):
    """The most memory a process has used so far, MiB."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmHWM')) / 1024


def by_novajob(world, line, seen=None):
    """MB/s of a stage. seen: a list for its memory."""
    commands, want = printing(world, line)
    script = world.write('print', commands + '\n')
    note = None if seen is None else (lambda: seen.append(peak(p.pid)))
    started = time.perf_counter()
    with world.shared().start('run', script, 'build_script', stdout=subprocess.PIPE) as p:
        got = drain(p.stdout.fileno(), want, note)
    assert p.returncode == 0 and got == want, (p.returncode, got)
    return want / 1e6 / (time.perf_counter() - started)


def by_ssh(world, line):
    """MB/s of `ssh | cat`."""
    commands, want = printing(world, line)
    script = world.write('print', commands + '\n')
    started = time.perf_counter()
    with subprocess.Popen(world.shared().ssh('exec bash ' + script), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as ssh, \
            subprocess.Popen(['cat'], stdin=ssh.stdout, stdout=subprocess.PIPE) as cat:
        ssh.stdout.close()
        got = drain(cat.stdout.fileno(), want)
    assert got == want, got
    return want / 1e6 / (time.perf_counter() - started)


def throughput(line):
    """Each in turn, now the one first and now the other: two processors for four processes make single times uncertain."""
    def measure(world):
        ours, floor = [], []
        for n in range(min(PAIRS, world.times)):
            for kind, rates in ((by_novajob, ours), (by_ssh, floor))[::1 if n % 2 else -1]:
                rates.append(kind(world, line))
        return Result(median(ours), median(floor), f'the median of {len(ours)} times {world.bytes / 1e9:g} GB each')
    return measure


def memory(world):
    seen = []
    for line in (80, 1000000):
        by_novajob(world, line, seen)
    return Result(max(seen), None, 'while it relays lines of 80 bytes and of 1 MB')


def arrivals(argv, env=None):
    """How long after it was written each time stamp came, ms."""
    late, rest = [], b''
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env) as p:
        while True:
            data = os.read(p.stdout.fileno(), 65536)
            now = time.time()
            if not data:
                break
            rest += data
            while len(rest) >= 18:
                late.append((now - float(rest[:17])) * 1000)
                rest = rest[18:]
    return late[2:]


def latency(end, pause):
    """Stamps of 17 bytes, and one byte more: a newline, or a blank."""
    def measure(world):
        job = world.shared()
        script = world.write('stamps', f"for i in {{1..{world.times + 2}}}; do printf '%s{end}' "
                             f'"$EPOCHREALTIME"; sleep {pause}; done\n')
        return Result(median(arrivals(job.argv('run', script, 'build_script'), job.env)),
                      median(arrivals(job.ssh('exec bash ' + script))))
    return measure


def cpu_ms(pid):
    with open(f'/proc/{pid}/schedstat', encoding='ascii') as f:
        return int(f.read().split()[0]) / 1e6


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as f:
        return f.read().split()


def silence(world):
    job = world.shared()
    span = min(4, world.times / 8)
    script = world.write('silent', f'echo begun; sleep {span + 1}\n')
    with job.start('run', script, 'build_script', stdout=subprocess.PIPE) as p:
        os.read(p.stdout.fileno(), 65536)
        time.sleep(0.3)     # what the start has left to do
        pids = [p.pid, *children(p.pid)]
        before = sum(cpu_ms(pid) for pid in pids)
        time.sleep(span)
        used = sum(cpu_ms(pid) for pid in pids) - before
        p.stdout.read()
    return Result(used / span)


ROWS = [
    Row('relay, lines of 80 bytes', 'MB/s', of_floor(0.9), throughput(80)),
    Row('relay, lines of 1 MB', 'MB/s', of_floor(0.9), throughput(1000000)),
    Row('latency of a line', 'ms', at_most(5, 'ms'), latency('\\n', 0.02)),
    Row('latency of a partial line', 'ms', at_most(150, 'ms'), latency(' ', 0.2)),
    Row('memory of a stage that relays', 'MiB', at_most(4, 'MiB'), memory),
    Row('CPU of a stage that is silent', 'ms/s', at_most(0.1, 'ms/s'), silence),
]
