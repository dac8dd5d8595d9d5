"""prepare and cleanup, cold and with a pool.

prepare's floor, cold, is a tight loop from outside: it asks the simulated
cloud for the server's address, then logs in with the job's key until that
works, beside the prepare that is measured. Warm, it is one ssh by itself.
cleanup's is one `openstack server delete`. Each group of rows is measured
once, on a cloud of its own.
"""
import functools
import glob
import subprocess
import threading
import time
from statistics import median

from lab import Lab
from rows import Result, Row, above_floor, at_most

ORDER = 30
# seconds from create to ACTIVE, of a flavor: their times are kept apart
BUILDS = ((0.3, 'm1.tiny'), (3, 'm1.small'))
BOOT = 1                # seconds from ACTIVE to sshd


def ssh(lab, job_id, address):
    key = glob.glob(lab.path('state/jobs/*-%d/id_ed25519' % job_id))[0]
    return ['ssh', '-F', 'none', '-i', key, '-p', lab.read('cloud/ssh-port').strip(), '-o', 'BatchMode=yes',
            '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
            lab.read('cloud/user').strip() + '@' + address, 'true']


def logs_in(words):
    return subprocess.run(words, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def server_of(lab, job_id):
    return next((s for s in lab.servers() if s['name'].endswith('-job-%d' % job_id)), None)


class Loop(threading.Thread):
    """Logs in to a job's server as soon as anybody can; .at is when."""

    def __init__(self, lab, job_id):
        super().__init__(daemon=True)
        self.lab, self.job_id, self.at = lab, job_id, None

    def run(self):
        while True:
            server = server_of(self.lab, self.job_id)
            if server and server['addresses'] and server['status'] == 'ACTIVE':
                break
            time.sleep(0.01)
        words = ssh(self.lab, self.job_id, server['addresses'][0])
        while not logs_in(words):
            time.sleep(0.005)
        self.at = time.monotonic()


def cold_job(lab, job_id):
    """One job: seconds, client starts."""
    starts = lab.starts()
    loop = Loop(lab, job_id)
    loop.start()
    began = time.monotonic()
    lab.stage(job_id, 'prepare')
    ready = time.monotonic()
    loop.join(60)
    mid = lab.starts()
    cleanup, _ = lab.stage(job_id, 'cleanup')
    return {'ready': ready - began, 'floor': loop.at - began, 'starts': mid - starts, 'cleanup': cleanup,
            'cleanup_starts': lab.starts() - mid}


def delete_floor(lab, job_id):
    """One `openstack server delete`, accepted."""
    lab.stage(job_id, 'prepare')
    server = server_of(lab, job_id)
    began = time.monotonic()
    subprocess.run(['openstack', 'server', 'delete', server['id']], check=True, env=lab.env, stdin=subprocess.DEVNULL)
    took = time.monotonic() - began
    lab.stage(job_id, 'cleanup')
    return took


def medians(results):
    return {key: median(r[key] for r in results) for key in results[0]}


@functools.lru_cache(None)
def cold(rounds):
    """{build: medians}, and those of cleanup both ways."""
    found = {}
    with Lab() as lab:
        job = iter(range(100, 10000))
        for build, flavor in BUILDS:
            lab.set(flavor=flavor)
            lab.knobs([{'match': '.', 'spawn_delay': build, 'boot': BOOT}])
            cold_job(lab, next(job))    # fills the cache of names
            found[build] = medians([cold_job(lab, next(job)) for _ in range(rounds)])
        lab.knobs([])
        found['delete'] = median(delete_floor(lab, next(job)) for _ in range(rounds))
        lab.set(delete_by='timer')
        found['timer'] = medians([cold_job(lab, next(job)) for _ in range(rounds)])
        lab.stage(0, 'sweep')
        if lab.servers():
            raise RuntimeError('servers are left: %s' % lab.servers())
    return found


@functools.lru_cache(None)
def warm(rounds):
    """Each job takes a server of the pool, which is filled before the first; the fills behind claims are not waited for."""
    results = []
    with Lab(pool=str(rounds)) as lab:
        lab.stage(0, 'pool', 'fill')
        for job_id in range(1, rounds + 1):
            starts = lab.starts('prepare')
            took, said = lab.stage(job_id, 'prepare')
            if 'warm pool' not in said:
                raise RuntimeError('not of the pool: %s' % said)
            began = time.monotonic()
            if not logs_in(ssh(lab, job_id, lab.record(job_id)['address'])):
                raise RuntimeError('the server of job %d lets nobody in' % job_id)
            results.append({'ready': took, 'floor': time.monotonic() - began, 'starts': lab.starts('prepare') - starts})
        lab.set(pool='0')
        for job_id in range(1, rounds + 1):
            lab.stage(job_id, 'cleanup')
        lab.stage(0, 'pool', 'drain')
    return medians(results)


def rounds_of(world):
    return max(1, world.times // 6)


def of(group, *keys, ours, floor=None):
    """measure() of a row: ours and the floor are keys into what the group has found."""
    def measure(world):
        found = group(rounds_of(world))
        values = found
        for key in keys:
            values = values[key]
        least = None if floor is None else found['delete'] if floor == 'delete' else values[floor]
        return Result(values[ours], least)
    return measure


ROWS = [
    *(Row('prepare, cold, build %g s, boot %g s' % (build, BOOT), 's', above_floor(0.5, 's'),
          of(cold, build, ours='ready', floor='floor')) for build, _ in BUILDS),
    Row('prepare, cold: client starts', '', at_most(1, ''), of(cold, 3, ours='starts')),
    Row('prepare, warm', 's', at_most(0.3, 's'), of(warm, ours='ready', floor='floor')),
    Row('prepare, warm: client starts', '', at_most(0, ''), of(warm, ours='starts')),
    Row('cleanup', 's', above_floor(0.5, 's'), of(cold, 0.3, ours='cleanup', floor='delete')),
    Row('cleanup: client starts', '', at_most(1, ''), of(cold, 0.3, ours='cleanup_starts')),
    Row('cleanup, delete-by = timer', 's', at_most(0.05, 's'), of(cold, 'timer', ours='cleanup')),
    Row('cleanup, delete-by = timer: client starts', '', at_most(0, ''), of(cold, 'timer', ours='cleanup_starts')),
]
