"""The command line of `cloud`."""
import argparse
import http.client
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time

import faults
import procs

START_LIMIT = 60        # seconds until `start` gives up
STOP_LIMIT = 30         # seconds until `stop` stops asking


class Fault(Exception):
    """Printed as one line."""


def _parser(text):
    parser = argparse.ArgumentParser(
        prog='cloud', description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    subs = parser.add_subparsers(dest='command', required=True)

    def add(name, func):
        sub = subs.add_parser(name)
        sub.set_defaults(func=func)
        sub.add_argument('dir', metavar='DIR')
        return sub
    for name, func in (('run', run), ('start', start)):
        sub = add(name, func)
        sub.add_argument('--ssh-port', type=int)
        sub.add_argument('--net')
    add('stop', stop)
    add('servers', servers).add_argument('--json', action='store_true')
    add('requests', requests).add_argument('regex', nargs='?', default='')
    sub = add('add', add_server)
    sub.add_argument('--name', required=True, action='append')
    sub.add_argument('--status', default='ACTIVE',
                     choices=('ERROR', 'ACTIVE', 'SHUTOFF'))
    sub.add_argument('--property', action='append', default=[])
    sub.add_argument('--created')
    sub.add_argument('--no-sshd', action='store_true')
    for name in ('kill', 'lose', 'freeze', 'thaw'):
        add(name, on_server).add_argument('ids', metavar='ID', nargs='+')
    add('knobs', knobs).add_argument('json', nargs='?')
    return parser


def main(text):
    args = _parser(text).parse_args()
    args.dir = os.path.abspath(args.dir)
    try:
        return args.func(args) or 0
    except (Fault, OSError, ValueError) as e:
        print('cloud: %s' % e, file=sys.stderr)
        return 1


def _read(args, name):
    with open(os.path.join(args.dir, name), encoding='utf-8') as f:
        return f.read().strip()


def _ask(args, command, **given):
    """Has the running cloud do something; prints its answer."""
    try:
        port, secret = _read(args, 'control').split()
        conn = http.client.HTTPConnection('127.0.0.1', int(port), timeout=60)
        conn.request('POST', '/control/' + command, json.dumps(given),
                     {'X-Control': secret})
        answer = conn.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as e:
        raise Fault('no cloud runs in %s (%s)' % (args.dir, e)) from e
    if answer.status != 200:
        raise Fault(text or 'refused')
    sys.stdout.write(text)


def run(args):
    import daemon       # the other commands are quicker without all that
    return daemon.run(args.dir, args.ssh_port, args.net)


def _running(args):
    """The pid of the cloud in DIR, or None."""
    try:
        pid = int(_read(args, 'pid'))
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            words = f.read().split(b'\0')
    except (OSError, ValueError):
        return None
    return pid if b'run' in words and args.dir.encode() in words else None


def start(args):
    if _running(args):
        raise Fault('a cloud runs in %s already' % args.dir)
    os.makedirs(args.dir, mode=0o700, exist_ok=True)
    ready = os.path.join(args.dir, 'ready')
    if os.path.exists(ready):
        os.unlink(ready)
    here = os.path.dirname(os.path.abspath(__file__))
    argv = [sys.executable, os.path.join(here, 'cloud'), 'run', args.dir]
    for name in ('ssh_port', 'net'):
        if getattr(args, name):
            argv += ['--' + name.replace('_', '-'), str(getattr(args, name))]
    log_name = os.path.join(args.dir, 'cloud.log')
    with open(log_name, 'ab') as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log, cwd='/', start_new_session=True)
    end = time.monotonic() + START_LIMIT
    while not os.path.exists(ready):
        if child.poll() is not None or time.monotonic() > end:
            if child.poll() is None:
                child.terminate()
            raise Fault('it did not start: %s'
                        % (_read(args, 'cloud.log')[-500:] or log_name))
        time.sleep(0.01)
    _explain(args)
    child.returncode = 0        # it outlives us on purpose


def _explain(args):
    """The openrc, and how to try it by hand."""
    quoted = shlex.quote(args.dir)
    print(_read(args, 'openrc'))
    print('# By hand:  . %s/openrc; openstack image list\n'
          '# In a server:  ssh -p %s -i %s/id_ed25519 %s@ADDRESS\n'
          '# See also:  %s servers %s;  %s stop %s;  %s --help'
          % (quoted, _read(args, 'ssh-port'), quoted, _read(args, 'user'),
             sys.argv[0], quoted, sys.argv[0], quoted, sys.argv[0]))


def stop(args):
    pid = _running(args)
    if pid:
        try:
            watch = os.pidfd_open(pid)
            signal.pidfd_send_signal(watch, signal.SIGTERM)
            if not select.select([watch], [], [], STOP_LIMIT)[0]:
                signal.pidfd_send_signal(watch, signal.SIGKILL)
                select.select([watch], [], [], STOP_LIMIT)
            os.close(watch)
        except ProcessLookupError:
            pass
    _sweep(args)
    for name in ('ready', 'pid', 'control'):
        try:
            os.unlink(os.path.join(args.dir, name))
        except FileNotFoundError:
            pass


def _sweep(args):
    """Ends what a cloud that was killed has left: sshd's and sessions."""
    config = os.path.join(args.dir, 'servers') + '/'

    def left():
        parent_of = procs.parents()
        roots = procs.tagged(parent_of, 'NOVASIM_CLOUD=' + args.dir)
        for pid in parent_of:
            try:
                with open('/proc/%d/cmdline' % pid, 'rb') as f:
                    line = f.read()
            except OSError:
                continue
            if line.startswith((b'sshd:', b'/usr/sbin/sshd')) \
                    and config.encode() in line:
                roots.add(pid)
        return procs.below(roots, parent_of) - {os.getpid()}
    procs.end_all(left)


def servers(args):
    _ask(args, 'servers', json=args.json)


def requests(args):
    wanted = re.compile(args.regex)
    with open(os.path.join(args.dir, 'requests.log'),
              encoding='utf-8') as log:
        for line in log:
            line = line.rstrip('\n').partition(' ')[2]
            if wanted.search(line):
                print(line)


def add_server(args):
    pairs = [p.partition('=') for p in args.property]
    if any(not equals for _, equals, _ in pairs):
        raise Fault('--property wants KEY=VALUE')
    for name in args.name:
        _ask(args, 'add', name=name, status=args.status,
             metadata={k: v for k, _, v in pairs}, created=args.created,
             no_sshd=args.no_sshd)


def on_server(args):
    for server_id in args.ids:
        _ask(args, args.command, id=server_id)


def knobs(args):
    path = os.path.join(args.dir, 'knobs.json')
    if args.json is None:
        try:
            sys.stdout.write(_read(args, 'knobs.json') + '\n')
        except FileNotFoundError:
            print('[]')
        return
    faults.replace(path, sys.stdin.read() if args.json == '-' else args.json)
