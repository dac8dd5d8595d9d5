"""The bodies of servers: each a directory, a host key and a real sshd."""
import os
import pwd
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time

import penalty
import procs
import userdata

SSHD = '/usr/sbin/sshd'
CONFIG = '''\
{extra}
Port {port}
ListenAddress {address}
{keys}
AuthorizedKeysFile "{dir}/authorized_keys" "{dir}/home/.ssh/authorized_keys"
PidFile none
StrictModes no
UsePAM {pam}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
MaxStartups 1000
LoginGraceTime 60
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
SetEnv {env}
{last}
'''
# A script of the user-data is root's in the server, not in the machine the
# tests run on: it sees the server's home, an /etc/ssh of its own, and no
# service manager. $1: the server's directory, $2: the home passwd names
CONFINE = '''\
set -e
mount --bind "$1/etc-ssh" /etc/ssh
mount --bind "$1/home" "$2"
mount -t tmpfs none /run
exec "$3"
'''
STUB = '#!/bin/sh\nexit 0\n'
# sshd begins in the home that passwd names; bash reads this file of the
# server's own home even for a command
BASHRC = 'cd "$HOME" 2>/dev/null || :\n'


class Guests:
    """Makes and ends the guests; keeps some host keys in stock."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.dir = os.path.join(cloud.dir, 'servers')
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        self.pam = _needs_pam(cloud.user)
        self._keys = queue.Queue(maxsize=8)
        self._stock = os.path.join(cloud.dir, 'keys')
        os.makedirs(self._stock, mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.makedirs('/run/sshd', mode=0o755, exist_ok=True)
        threading.Thread(target=self._make_keys, daemon=True).start()

    def _make_keys(self):
        number = 0
        while not self.cloud.stopping.is_set():
            number += 1
            path = os.path.join(self._stock, str(number))
            try:
                keygen(path, 'root@server')
            except OSError:
                return          # the directory went away: we are ending
            self._keys.put(path)

    def host_key(self, path):
        key = self._keys.get(timeout=30)
        os.rename(key, path)
        os.rename(key + '.pub', path + '.pub')

    def end(self):
        """Ends everything that runs in the servers."""
        tag = 'NOVASIM_CLOUD=' + self.cloud.dir
        procs.end_all(lambda: procs.of_server(tag, _listeners(), self.dir))
        me = os.getpid()
        procs.end_all(
            lambda: procs.below([me], procs.parents()) - {me})


def _listeners():
    return [p for p in procs.below([os.getpid()], procs.parents())
            if p != os.getpid()]


def _needs_pam(user):
    """sshd without PAM refuses an account whose password begins with `!`."""
    try:
        with open('/etc/shadow', encoding='utf-8') as f:
            return any(l.startswith(user + ':!') for l in f)
    except OSError:
        return False


def keygen(path, comment):
    procs.output(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '',
                  '-C', comment, '-f', path])


class Guest:
    """One server's body. `busy` is held while it is changed."""

    def __init__(self, guests, server):
        self.guests, self.server = guests, server
        self.dir = os.path.join(guests.dir, server.id)
        self.tag = 'NOVASIM_SERVER=' + server.id
        self.busy = threading.Lock()
        self.on = self.gone = self.booted = False
        self.sshd = {}          # address -> Popen
        self.fronts = {}        # address -> penalty.Front
        self.data = userdata.parse(server.user_data)
        self.rule = {}

    def power_on(self, rule):
        with self.busy:
            if self.gone or self.on:
                return
            self.rule = rule
            if not os.path.isdir(self.dir):
                self._furnish()
            self._authorize(not rule.get('wrong_key')
                            and not rule.get('key_delay'))
            self.on = True
            self._console(self._boot_text())
            if not (rule.get('no_sshd') or self.server.no_sshd):
                self._listen()
            if not self.booted:     # scripts are for the first boot only
                for number, script in enumerate(self.data.scripts):
                    self._run(number, script)
            self.booted = True
        delay = rule.get('key_delay')
        if delay and not rule.get('wrong_key'):
            self.guests.cloud.timers.after(delay, self.authorize)

    def authorize(self):
        """The keys arrive, as cloud-init would bring them."""
        with self.busy:
            if self.on:
                self._authorize(True)

    def readdress(self):
        """Floating addresses came or went."""
        with self.busy:
            if self.on and not (self.rule.get('no_sshd')
                                or self.server.no_sshd):
                self._listen()

    def processes(self):
        roots = [p.pid for p in self.sshd.values()]
        return procs.of_server(self.tag, roots, self.dir)

    def shut_down(self, seconds):
        """As init does it: TERM to all, sshd goes last."""
        roots = {p.pid for p in self.sshd.values()}

        def jobs():
            return [p for p in self.processes() if p not in roots
                    and not (procs.name_of(p) or 'sshd').startswith('sshd')]
        end = time.monotonic() + seconds
        with self.busy:
            procs.signal_all(jobs(), signal.SIGTERM)
        while jobs() and time.monotonic() < end:
            time.sleep(0.02)

    def power_off(self, gone=False):
        """Ends all processes at one instant, so that none can tell of
        another's end; `gone`: for ever, with the directory."""
        with self.busy:
            self.gone = self.gone or gone
            self.on = False
            for front in self.fronts.values():
                front.close()
            self.fronts = {}
            if self.sshd or self.data.scripts:
                procs.stop_all(self.processes)
                procs.end_all(self.processes)
            self.sshd = {}
            if gone:
                shutil.rmtree(self.dir, ignore_errors=True)

    def freeze(self, number=signal.SIGSTOP):
        """Stops (or with SIGCONT continues) whatever runs."""
        with self.busy:
            for _ in range(2):  # those that were being born
                procs.signal_all(self.processes(), number)
                time.sleep(0.01)

    def console(self):
        try:
            with open(os.path.join(self.dir, 'console.log'),
                      encoding='utf-8', errors='surrogateescape') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def _console(self, text):
        with open(os.path.join(self.dir, 'console.log'), 'a',
                  encoding='utf-8', errors='surrogateescape') as f:
            f.write(text)

    def _furnish(self):
        """The directory, the home in it and the host keys."""
        temp = self.dir + '.new'
        os.makedirs(os.path.join(temp, 'home'), mode=0o700)
        with open(os.path.join(temp, 'home/.bashrc'), 'w',
                  encoding='utf-8') as f:
            f.write(BASHRC)
        given = {k: v for k, v in self.data.host_keys.items()
                 if k.endswith('_private')}
        for name, text in given.items():
            kind = name[:-len('_private')]
            path = os.path.join(temp, 'ssh_host_%s_key' % kind)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), 'w',
                      encoding='utf-8') as f:
                f.write(text if text.endswith('\n') else text + '\n')
            public = self.data.host_keys.get(kind + '_public')
            if public:
                with open(path + '.pub', 'w', encoding='utf-8') as f:
                    f.write(public.strip() + '\n')
        if not given:
            self.guests.host_key(os.path.join(temp, 'ssh_host_ed25519_key'))
        os.rename(temp, self.dir)

    def _authorize(self, filled):
        lines = [self.server.key_data or ''] + self.data.authorized
        path = os.path.join(self.dir, 'authorized_keys')
        with open(path + '.new', 'w', encoding='utf-8') as f:
            if filled:
                f.write(''.join(l.strip() + '\n' for l in lines if l))
        os.rename(path + '.new', path)

    def _host_keys(self):
        return sorted(os.path.join(self.dir, n) for n in os.listdir(self.dir)
                      if n.startswith('ssh_host_') and n.endswith('_key'))

    def _boot_text(self):
        public = []
        for key in self._host_keys():
            try:
                with open(key + '.pub', encoding='utf-8') as f:
                    public.append(f.read().strip())
            except FileNotFoundError:
                pass
        lines = ['[    0.000000] Linux version 6.1.0-18-cloud-amd64',
                 '[    0.412345] systemd[1]: Hostname set to <%s>.'
                 % self.server.name,
                 '-----BEGIN SSH HOST KEY KEYS-----', *public,
                 '-----END SSH HOST KEY KEYS-----']
        lines += ['novasim: ignored: ' + i for i in self.data.ignored]
        lines += self.rule.get('console', '').splitlines()
        lines += ['', 'Debian GNU/Linux 12 %s ttyS0' % self.server.name, '',
                  '%s login: ' % self.server.name]
        return '\n'.join(lines)

    def _environment(self):
        return {'NOVASIM_SERVER': self.server.id,
                'NOVASIM_CLOUD': self.guests.cloud.dir,
                'HOME': os.path.join(self.dir, 'home')}

    def _configure(self, path, address, port):
        extra, last, env = [], [], []
        for line in self.rule.get('sshd', []):
            words = line.split(None, 1)
            if words and words[0].lower() == 'setenv':
                env.append(words[1])     # only one such line would count
            elif last or words[:1] and words[0].lower() == 'match':
                last.append(line)
            else:
                extra.append(line)
        env += ['"%s=%s"' % i for i in self._environment().items()]
        with open(path, 'w', encoding='utf-8') as f:
            f.write(CONFIG.format(
                extra='\n'.join(extra), last='\n'.join(last), port=port,
                address=address, dir=self.dir, env=' '.join(env),
                pam='yes' if self.guests.pam else 'no',
                keys='\n'.join('HostKey "%s"' % k
                               for k in self._host_keys())))

    def _listen(self):
        """An sshd for each address that shall have one, and no other."""
        cloud = self.guests.cloud
        wanted = cloud.listening(self.server)
        for address in [a for a in self.sshd if a not in wanted]:
            self.sshd.pop(address).kill()
            if address in self.fronts:
                self.fronts.pop(address).close()
        for address in [a for a in wanted if a not in self.sshd]:
            port = cloud.ssh_port
            if self.rule.get('penalty'):
                port = _free_port(address)
            config = os.path.join(self.dir, 'sshd_config.' + address)
            log = os.path.join(self.dir, 'sshd.log')
            self._configure(config, address, port)
            with open(log, 'ab') as f:
                self.sshd[address] = procs.start(
                    [SSHD, '-D', '-e', '-f', config], cwd='/', stdout=f,
                    stderr=f, env={'PATH': os.defpath})
            if self.rule.get('penalty'):
                seconds = self.rule['penalty']
                self.fronts[address] = penalty.Front(
                    address, cloud.ssh_port, (address, port), log,
                    5 if seconds is True else seconds)

    def _run(self, number, script):
        """A script of the user-data, beside sshd, as root of the server."""
        path = os.path.join(self.dir, 'script-%d' % number)
        bin_dir = os.path.join(self.dir, 'bin')
        os.makedirs(os.path.join(self.dir, 'etc-ssh'), exist_ok=True)
        os.makedirs(bin_dir, exist_ok=True)
        for name, text in [(path, script)] + [
                (os.path.join(bin_dir, n), STUB.encode())
                for n in ('systemctl', 'service')]:
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                              0o700), 'wb') as f:
                f.write(text)
        me = pwd.getpwuid(os.getuid())
        env = {'PATH': bin_dir + ':/usr/sbin:/usr/bin:/sbin:/bin',
               'LANG': 'C.UTF-8', 'USER': me.pw_name}
        env.update(self._environment())
        confine = ['unshare', '--mount'] + (
            [] if os.getuid() == 0 else ['--map-root-user'])
        with open(os.path.join(self.dir, 'console.log'), 'ab') as log:
            child = procs.start(
                confine + ['sh', '-c', CONFINE, 'sh', self.dir, me.pw_dir,
                           path],
                env=env, cwd='/', stdout=log, stderr=subprocess.STDOUT)
        threading.Thread(target=self._take_keys, args=(child,),
                         daemon=True).start()

    def _take_keys(self, child):
        """A script has ended: sshd goes by the host keys it has left."""
        child.wait()
        made = os.path.join(self.dir, 'etc-ssh')
        with self.busy:
            if not self.on or not os.path.isdir(made):
                return
            names = [n for n in os.listdir(made) if n.startswith('ssh_host_')]
            if not names:
                return
            for path in self._host_keys():
                os.remove(path)
            for name in names:
                os.rename(os.path.join(made, name),
                          os.path.join(self.dir, name))
            for process in self.sshd.values():
                process.kill()
                process.wait()
            for front in self.fronts.values():
                front.close()
            self.sshd, self.fronts = {}, {}
            if not (self.rule.get('no_sshd') or self.server.no_sshd):
                self._listen()


def _free_port(address):
    with socket.socket() as sock:
        sock.bind((address, 0))
        return sock.getsockname()[1]
