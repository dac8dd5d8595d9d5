"""A simulated cloud, settings and jobs for the rows; all of it ends with the bench."""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class World:
    """One cloud for all rows. With `with`."""

    def __init__(self):
        self.novajob = os.path.abspath(os.environ.get('NOVAJOB', os.path.join(TESTS, '..', 'build', 'novajob')))
        self.times = int(os.environ.get('BENCH_TIMES', '31'))
        self.bytes = int(float(os.environ.get('BENCH_MB', '1000')) * 1e6)
        self.dir = self.settings = self.env = None
        self.jobs = []
        self._shared = None

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix='njb', dir='/tmp')
        self.cloud('start')
        openrc = subprocess.run(['bash', '-c', '. "$1" && env -0', '-', self.path('cloud', 'openrc')],
                                stdout=subprocess.PIPE, check=True).stdout.decode()
        self.env = {name: value for name, _, value in (e.partition('=') for e in openrc.split('\0'))
                    if not name.startswith(('NOVAJOB', 'BENCH', 'CUSTOM_ENV'))}
        self.env.update(HOME=self.dir, TMPDIR=self.dir, BUILD_FAILURE_EXIT_CODE='1', SYSTEM_FAILURE_EXIT_CODE='2',
                        CUSTOM_ENV_CI_RUNNER_ID='7', CUSTOM_ENV_CI_CONCURRENT_ID='0', LC_ALL='C.UTF-8')
        self.env.pop('', None)
        self.settings = self.write('novajob.conf', ''.join(f'{name} = {value}\n' for name, value in {
            'flavor': 'm1.tiny', 'image': 'builder-one', 'network': 'ci-net', 'security-group': 'ci',
            'username': self.read('cloud', 'user'), 'ssh-port': self.read('cloud', 'ssh-port'),
            'state-dir': self.path('state'), 'busy-timeout': '0'}.items()))
        return self

    def __exit__(self, *_):
        for job in self.jobs:
            job.cleanup()
        self.cloud('stop')
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def read(self, *parts):
        with open(self.path(*parts), encoding='utf-8') as f:
            return f.read().strip()

    def write(self, name, text):
        """A file of the bench, 0600; its path."""
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w', encoding='utf-8') as f:
            f.write(text)
        return self.path(name)

    def cloud(self, command, *args):
        return subprocess.run([sys.executable, os.path.join(TESTS, 'cloud', 'cloud'), command, self.path('cloud'), *args],
                              stdout=subprocess.PIPE, check=True).stdout.decode()

    def script(self, size):
        """A script of the runner's form, of so many bytes; 0: an empty one. Its path."""
        path = self.path(f'script-{size}')
        if not os.path.exists(path):
            with open(path, 'wb') as f:
                if size:
                    subprocess.run([os.path.join(TESTS, 'runner', 'script'), 'prepare_script', '--size', str(size)],
                                   stdout=f, check=True)
        return path

    def job(self, *settings):
        """A job with an environment of its own, nothing done yet; settings: further flags."""
        self.jobs.append(Job(self, 1000 + len(self.jobs), settings))
        return self.jobs[-1]

    def shared(self):
        """A prepared job that rows may share."""
        if self._shared is None:
            self._shared = self.job()
            self._shared.prepare()
        return self._shared


class Job:
    """A job whose stages are called by hand."""

    def __init__(self, world, number, settings):
        self.world = world
        self.settings = list(settings)
        response = world.write(f'response-{number}', json.dumps({
            'id': number, 'token': 'x', 'variables': [], 'image': {'name': ''}, 'runner_info': {'timeout': 36000},
            'job_info': {'project_id': 42, 'project_name': 'p', 'project_full_path': 'group/p',
                         'instance_uuid': '11111111-2222-3333-4444-555555555555'},
            'git_info': {'repo_url': 'https://gitlab.example/group/p.git', 'ref': 'main', 'protected': True}}))
        self.number = number
        self.env = dict(world.env, JOB_RESPONSE_FILE=response, BUILD_EXIT_CODE_FILE=world.path(f'code-{number}'))
        self.is_prepared = False

    def argv(self, *args):
        return [self.world.novajob, '--settings=' + self.world.settings, *self.settings, *args]

    def run(self, *args, **how):
        """A stage to its end; what it said is shown when it fails."""
        done = subprocess.run(self.argv(*args), env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              check=False, **how)
        if done.returncode != 0:
            sys.stderr.write(done.stderr.decode(errors='replace'))
            sys.exit(f'bench: {args[0]} ended with {done.returncode}')
        return done

    def start(self, *args, **how):
        return subprocess.Popen(self.argv(*args), env=self.env, stdin=subprocess.DEVNULL, **how)

    def prepare(self):
        self.is_prepared = True
        return self.run('prepare')

    def cleanup(self):
        if self.is_prepared:
            self.is_prepared = False
            self.run('cleanup')

    def record(self):
        with open(glob.glob(self.world.path('state', 'jobs', f'*-{self.number}', 'record.json'))[0], encoding='utf-8') as f:
            return json.load(f)

    def ssh(self, *command):
        """argv of a plain ssh over the job's shared connection."""
        record = self.record()
        control = self.world.path('state', 'share', record['try'])
        if subprocess.run(['ssh', '-S', control, '-O', 'check', 'x'], stderr=subprocess.DEVNULL, check=False).returncode:
            sys.exit('bench: the job has no shared connection')
        return ['ssh', '-F', 'none', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR', '-o', 'ControlPath=' + control,
                '-p', self.world.read('cloud', 'ssh-port'), '-l', self.world.read('cloud', 'user'),
                record['address'], *command]
