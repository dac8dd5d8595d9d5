"""Rows of the bench: prepare without a pool, and cleanup.

rows() yields (name, unit, value, floor). By hand: bench_prepare.py [ROUNDS].

prepare's floor is a tight loop from outside: it asks the simulated cloud for
the server's address, then logs in with the job's key until that works, beside
the prepare that is measured. cleanup's is one `openstack server delete`.
"""
import glob
import os
import statistics
import subprocess
import sys
import threading
import time

from bench_lab import Lab

ROUNDS = 5
# seconds from create to ACTIVE, of a flavor: their times are kept apart
BUILDS = ((0.3, 'm1.tiny'), (3, 'm1.small'))
BOOT = 1                # seconds from ACTIVE to sshd


class Loop(threading.Thread):
    """Logs in to a job's server as soon as anybody can; .at is when."""

    def __init__(self, lab, job_id):
        super().__init__(daemon=True)
        self.lab, self.job_id, self.at = lab, job_id, None
        self.created = None

    def _address(self):
        while True:
            for s in self.lab.servers():
                if s['name'].endswith('-job-%d' % self.job_id):
                    self.created = self.created or time.monotonic()
                    if s['addresses'] and s['status'] == 'ACTIVE':
                        return s['addresses'][0]
            time.sleep(0.01)

    def run(self):
        address = self._address()
        key = glob.glob(self.lab.path(
            'state/jobs/*-%d/id_ed25519' % self.job_id))[0]
        words = ['ssh', '-F', 'none', '-i', key, '-p',
                 self.lab.read('cloud/ssh-port').strip(),
                 '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no',
                 '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
                 self.lab.read('cloud/user').strip() + '@' + address, 'true']
        while subprocess.run(words, check=False, capture_output=True,
                             stdin=subprocess.DEVNULL).returncode != 0:
            time.sleep(0.005)
        self.at = time.monotonic()


def one(lab, job_id):
    """One job: times in seconds, client starts, requests."""
    starts, requests = lab.starts(), lab.requests()
    loop = Loop(lab, job_id)
    loop.start()
    began = time.monotonic()
    _, said = lab.stage(job_id, 'prepare')
    ready = time.monotonic()
    loop.join(60)
    if '-v' in sys.argv:
        print(said)
    result = {'ready': ready - began, 'floor': loop.at - began,
              'created': loop.created - began,
              'starts': lab.starts() - starts,
              'requests': lab.requests() - requests}
    starts, requests = lab.starts(), lab.requests()
    result['cleanup'], _ = lab.stage(job_id, 'cleanup')
    result['cleanup_starts'] = lab.starts() - starts
    result['cleanup_requests'] = lab.requests() - requests
    return result


def delete_floor(lab, job_id):
    """One `openstack server delete`, accepted."""
    lab.stage(job_id, 'prepare')
    server = [s for s in lab.servers()
              if s['name'].endswith('-job-%d' % job_id)][0]
    began = time.monotonic()
    subprocess.run(['openstack', 'server', 'delete', server['id']], check=True,
                   env=lab.env, stdin=subprocess.DEVNULL)
    took = time.monotonic() - began
    lab.stage(job_id, 'cleanup')
    return took


def rows(rounds=ROUNDS):
    """Each row of the table: (name, unit, value, floor or None)."""
    def median(key):
        return statistics.median(r[key] for r in results)

    with Lab() as lab:
        job_id = 100
        for build, flavor in BUILDS:
            lab.set(flavor=flavor)
            lab.knobs([{'match': '.', 'spawn_delay': build, 'boot': BOOT}])
            results = []
            for _ in range(rounds + 1):
                job_id += 1
                results.append(one(lab, job_id))
            del results[0]          # fills the cache of names
            what = 'prepare, cold, build %g s, boot %g s' % (build, BOOT)
            yield what, 's', median('ready'), median('floor')
            yield what + ': behind the floor', 's', statistics.median(
                r['ready'] - r['floor'] for r in results), None
            yield what + ': create begins', 's', median('created'), None
            yield what + ': client starts', '', median('starts'), None
            yield what + ': requests', '', median('requests'), None
        lab.knobs([])
        floor = statistics.median(delete_floor(lab, job_id + 1 + i)
                                  for i in range(rounds))
        yield 'cleanup', 's', median('cleanup'), floor
        yield 'cleanup: client starts', '', median('cleanup_starts'), None
        yield 'cleanup: requests', '', median('cleanup_requests'), None
        results = []
        lab.set(delete_by='timer')
        for i in range(rounds):
            results.append(one(lab, job_id + 100 + i))
        yield 'cleanup, delete-by = timer', 's', median('cleanup'), floor
        yield ('cleanup, delete-by = timer: client starts', '',
               median('cleanup_starts'), None)
        starts = lab.starts()
        took, _ = lab.stage(0, 'sweep')
        yield 'sweep of %d such jobs' % rounds, 's', took, None
        yield 'sweep: client starts', '', lab.starts() - starts, None
        if lab.servers():
            raise RuntimeError('servers are left: %s' % lab.servers())


def main():
    """By hand."""
    rounds = [int(a) for a in sys.argv[1:] if a.isdigit()]
    print('%-52s %8s %8s %6s' % ('', 'value', 'floor', 'ratio'))
    for name, unit, value, floor in rows(*rounds):
        print('%-52s %8s %8s %6s' % (
            name, '%.2f%s' % (value, unit),
            '' if floor is None else '%.2f%s' % (floor, unit),
            '' if floor is None else '%.2f' % (value / floor)), flush=True)


if __name__ == '__main__':
    main()
