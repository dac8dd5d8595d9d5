"""What the benches share: a simulated cloud, settings, stages called by hand.

Lab is a context: on leaving it the cloud is stopped and the folder removed.
Client starts are counted by a wrapper round the openstack program.
"""
import glob
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
NOVAJOB = os.environ.get('NOVAJOB', os.path.join(TESTS, '../build/novajob'))
STRANGERS = ('NOVAJOB_', 'OS_', 'CUSTOM_ENV_')

WRAPPER = '''#!/bin/sh
echo "$(tr '\\0' ' ' </proc/$PPID/cmdline)" >>%s
exec %s "$@"
'''


class Lab:
    """A cloud and a host that runs jobs on it."""

    def __init__(self, **settings):
        self.dir = tempfile.mkdtemp(prefix='novajob-bench.', dir='/tmp')
        self.cloud_dir = self.path('cloud')
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(STRANGERS) and 'proxy' not in k.lower()}
        for name in ('home', 'tmp'):
            os.mkdir(self.path(name))
        self.env.update(HOME=self.path('home'), TMPDIR=self.path('tmp'),
                        LC_ALL='C.UTF-8', TZ='UTC')
        self.settings = settings

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as f:
            return f.read()

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run([TESTS + '/cloud/cloud', 'stop', self.cloud_dir],
                       check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _start(self):
        subprocess.run([TESTS + '/cloud/cloud', 'start', self.cloud_dir],
                       check=True, capture_output=True)
        for line in self.read('cloud/openrc').splitlines():
            name, value = line.removeprefix('export ').split('=', 1)
            self.env[name] = value.strip("'\"")
        real = shutil.which('openstack', path=self.env['PATH'])
        self._write('openstack', WRAPPER % (self.path('starts'), real), 0o700)
        self._write('starts', '')
        self.set(**self.settings)
        port, self._secret = self.read('cloud/control').split()
        self._port = int(port)

    def _write(self, name, text, mode=0o600):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)
        os.chmod(self.path(name), mode)

    def set(self, **settings):
        """The settings file; a setting that is None is left out."""
        given = {'flavor': 'm1.tiny', 'image': 'builder-one',
                 'network': 'ci-net', 'security-group': 'ci',
                 'username': self.read('cloud/user').strip(),
                 'ssh-port': self.read('cloud/ssh-port').strip(),
                 'ssh-timeout': '120', 'state-dir': self.path('state'),
                 'openstack': self.path('openstack')}
        given.update({k.replace('_', '-'): v for k, v in settings.items()})
        self._write('novajob.conf', ''.join(
            '%s = %s\n' % i for i in given.items() if i[1] is not None))

    def knobs(self, rules):
        self._write('cloud/knobs.json.new', json.dumps(rules))
        os.rename(self.path('cloud/knobs.json.new'),
                  self.path('cloud/knobs.json'))

    def servers(self):
        """The cloud's servers, by its private endpoint: cheap."""
        conn = http.client.HTTPConnection('127.0.0.1', self._port, timeout=60)
        conn.request('POST', '/control/servers', '{"json": true}',
                     {'X-Control': self._secret})
        text = conn.getresponse().read().decode()
        conn.close()
        return json.loads(text)

    def starts(self, stage=''):
        """Client processes so far, by a stage or by all."""
        return sum(stage in line for line in self.read('starts').splitlines())

    def record(self, job_id):
        with open(glob.glob(self.path('state/jobs/*-%d/record.json' % job_id))[0], encoding='utf-8') as f:
            return json.load(f)

    def requests(self):
        return len(self.read('cloud/requests.log').splitlines())

    def stage_env(self, job_id):
        """The environment of a stage, as the runner gives it."""
        response = {
            'id': job_id, 'token': 'glcbt-x', 'variables': [],
            'job_info': {'project_id': 42, 'project_name': 'p',
                         'project_full_path': 'group/p', 'instance_uuid':
                         '11111111-2222-3333-4444-555555555555'},
            'git_info': {'repo_url': 'https://gitlab.example/group/p.git',
                         'ref': 'main', 'protected': True},
            'runner_info': {'timeout': 3600}, 'image': {'name': ''}}
        self._write('response-%d' % job_id, json.dumps(response))
        return dict(self.env, JOB_RESPONSE_FILE=self.path(
            'response-%d' % job_id), BUILD_FAILURE_EXIT_CODE='1',
            SYSTEM_FAILURE_EXIT_CODE='2', CUSTOM_ENV_CI_RUNNER_ID='7',
            BUILD_EXIT_CODE_FILE=self.path('code'))

    def start_stage(self, job_id, *words):
        return subprocess.Popen(
            [NOVAJOB, '--settings=' + self.path('novajob.conf'), *words],
            env=self.stage_env(job_id), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stage(self, job_id, *words):
        """Seconds a stage takes, and what it says. It must work."""
        began = time.monotonic()
        child = self.start_stage(job_id, *words)
        said = child.communicate()[1]
        if child.returncode != 0:
            raise RuntimeError('%s of job %d ended with %d:\n%s' % (
                words[0], job_id, child.returncode, said))
        return time.monotonic() - began, said
