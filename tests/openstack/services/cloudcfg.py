#!/usr/bin/python3
"""Stands in for cloud-init inside a sandbox (see guest-init), as far as a CI
driver uses it and as cloud-init 22.4 does it.

  cloud-init init      before sshd: bootcmd, write_files, host name, users, keys
  cloud-init final     beside sshd: scripts and runcmd, keys to the console
  cloud-init status [--wait] [--long] [--format json]
"""
import base64
import email
import glob
import gzip
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time

RUN = '/run/cloud-init'
LIB = '/var/lib/cloud/instance'
DEFAULT_USER = 'cloud'
KNOWN = """bootcmd write_files hostname fqdn prefer_fqdn_over_hostname
preserve_hostname users user groups ssh_keys ssh_authorized_keys ssh_deletekeys
ssh_genkeytypes disable_root allow_public_ssh_keys runcmd final_message ssh
phone_home""".split()
STARTS = (('#cloud-config-archive', 'text/cloud-config-archive'),
          ('#cloud-config-jsonp', 'text/cloud-config-jsonp'),
          ('#cloud-config', 'text/cloud-config'),
          ('#cloud-boothook', 'text/cloud-boothook'),
          ('#include', 'text/x-include-url'),
          ('#part-handler', 'text/part-handler'),
          ('## template: jinja', 'text/jinja2'),
          ('#!', 'text/x-shellscript'))
GZIPPED = re.compile(r'application/(x-)?(gzip|gunzip|compress)')
NO_ROOT = ('no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="'
           'echo \'Please login as the user \\"%s\\" rather than the user '
           '\\"root\\".\';echo;sleep 10;exit 142"')
errors = []


def warn(text):
    line = 'cloud-init: WARNING: ' + text
    print(line, flush=True)
    with open('/var/log/cloud-init.log', 'a') as f:
        f.write(line + '\n')


# --- status.json and result.json, which `status` reads as cloud-init's does

def load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def save(path, data):
    with open(path + '.new', 'w') as f:
        json.dump(data, f, indent=1)
    os.rename(path + '.new', path)


def stage(name, begin):
    os.makedirs(RUN, exist_ok=True)
    v1 = load(RUN + '/status.json').get('v1') or {
        'datasource': 'DataSourceConfigDrive [net,ver=2][source=sandbox]'}
    part = v1.setdefault(name, {'errors': [], 'start': None, 'finished': None})
    if begin:
        v1['stage'] = name
        part['start'] = time.time()
    else:
        v1['stage'] = None
        part['finished'] = time.time()
        part['errors'] += errors
    save(RUN + '/status.json', {'v1': v1})
    if name == 'modules-final' and not begin:
        bad = [e for p in v1.values() if isinstance(p, dict)
               for e in p['errors']]
        save(RUN + '/result.json',
             {'v1': {'datasource': v1['datasource'], 'errors': bad}})
        os.makedirs(LIB, exist_ok=True)
        with open(LIB + '/boot-finished', 'w') as f:
            f.write('%s\n' % time.time())


def state():
    v1 = load(RUN + '/status.json').get('v1')
    if v1 is None:
        return 'not run', []
    bad = [e for p in v1.values() if isinstance(p, dict) for e in p['errors']]
    if not os.path.exists(RUN + '/result.json'):
        return 'error' if bad else 'running', bad
    return 'error' if bad else 'done', bad


def status(args):
    wait = {'-w', '--wait'} & set(args)
    now, bad = state()
    as_json = 'json' in args or '--format=json' in args
    while wait and now in ('not run', 'running'):
        if not as_json:
            print('.', end='', flush=True)
        time.sleep(0.25)
        now, bad = state()
    if as_json:
        print(json.dumps({'status': now, 'errors': bad,
                          'datasource': 'configdrive'}, indent=2))
    else:
        print(('\n' if wait else '') + 'status: ' + now)
        if {'-l', '--long'} & set(args):
            print('detail:\n' + ('\n'.join(bad) or 'DataSourceConfigDrive'))
    sys.exit(1 if now == 'error' else 0)


# --- user-data into its parts

def gunzip(data):
    return gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data


def kind_of(data, otherwise):
    head = data[:100].decode('utf-8', 'replace').lstrip().lower()
    for start, kind in STARTS:
        if head.startswith(start):
            return kind
    return otherwise


def parts(data):
    """Yields (type, file name or None, bytes)."""
    import yaml
    data = gunzip(data)
    if b'mime-version:' in data[:4096].lower():
        messages = [(m.get_content_type(), m.get_filename(),
                     m.get_payload(decode=True) or b'')
                    for m in email.message_from_bytes(data).walk()
                    if m.get_content_maintype() != 'multipart']
    else:
        messages = [('text/x-not-multipart', None, data)]
    for kind, name, body in messages:
        if GZIPPED.match(kind):
            body, kind = gunzip(body), 'text/plain'
        if kind in ('text/plain', 'text/x-not-multipart',
                    'text/x-shellscript'):
            kind = kind_of(body, kind)
        if kind == 'text/cloud-config-archive':
            for entry in yaml.safe_load(body) or []:
                if isinstance(entry, str):
                    entry = {'content': entry}
                text = entry.get('content', '')
                text = text.encode() if isinstance(text, str) else text
                yield (entry.get('type') or kind_of(text, 'text/cloud-config'),
                       entry.get('filename'), text)
        else:
            yield kind, name, body


def configuration(data):
    """The merged cloud-config; scripts are left in LIB/scripts."""
    import yaml
    config, n = {}, 0
    for kind, name, body in parts(data):
        n += 1
        name = re.sub(r'[^-A-Za-z0-9_.]', '', os.path.basename(name or '')) \
            or 'part-%03d' % n
        if kind == 'text/cloud-config':
            try:
                more = yaml.safe_load(body) or {}
                if not isinstance(more, dict):
                    raise yaml.YAMLError('a %s, not a mapping' %
                                         type(more).__name__)
            except (yaml.YAMLError, UnicodeDecodeError) as e:
                warn('Failed at merging in cloud config part from %s: %s'
                     % (name, e))
                continue
            for odd in ('merge_how', 'merge_type'):
                if more.pop(odd, None):
                    warn(odd + ' is not honoured here')
            config.update(more)     # dict(replace)+list()+str()
        elif kind == 'text/x-shellscript':
            script(name, body)
        elif kind == 'text/cloud-boothook':
            script(name, body, 'boothooks', run=True)
        elif body.strip():
            warn('Unhandled %s userdata: %r...' % (kind, body[:24]))
    for key in config:
        if key not in KNOWN:
            warn('%s is not honoured here' % key)
    return config


def script(name, body, folder='scripts', run=False):
    os.makedirs(LIB + '/' + folder, exist_ok=True)
    path = '%s/%s/%s' % (LIB, folder, name)
    if run:
        body = body.lstrip()[len('#cloud-boothook'):].lstrip()
    with open(path, 'wb') as f:
        f.write(body.replace(b'\r\n', b'\n'))
    os.chmod(path, 0o700)
    if run:
        command([path], 'boothook ' + name)


def shellify(commands):
    if isinstance(commands, str):
        raise TypeError('expected a list of commands, got a string')
    text = '#!/bin/sh\n'
    for c in commands:
        if isinstance(c, (list, tuple)):
            text += ' '.join("'%s'" % str(x).replace("'", "'\\''")
                             for x in c) + '\n'
        elif isinstance(c, str):
            text += c + '\n'
        elif c is not None:
            raise TypeError('unable to shellify %r' % (c,))
    return text.encode()


def command(argv, what):
    rc = subprocess.run(argv, stdin=subprocess.DEVNULL, cwd='/').returncode
    if rc:
        warn('%s: exit status %d' % (what, rc))
    return rc


def write(path, data, mode, how='wb'):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, how) as f:
        f.write(data.encode() if isinstance(data, str) else data)
    os.chmod(path, mode)


# --- modules

def bootcmd(config):
    if config.get('bootcmd'):
        path = RUN + '/bootcmd.sh'
        write(path, shellify(config['bootcmd']), 0o700)
        if command(['/bin/sh', path], 'bootcmd'):
            raise RuntimeError('bootcmd failed')


def write_files(config, deferred):
    for entry in config.get('write_files') or []:
        if bool(entry.get('defer', False)) != deferred:
            continue
        data = entry.get('content', '')
        data = data.encode() if isinstance(data, str) else data
        encoding = str(entry.get('encoding') or 'text/plain').lower().strip()
        if 'b64' in encoding or 'base64' in encoding:
            data = base64.b64decode(data)
        if encoding.startswith('gz'):
            data = gzip.decompress(data)
        mode = entry.get('permissions', 0o644)
        if not isinstance(mode, (int, float)):
            try:
                mode = int(str(mode), 8)
            except ValueError:
                warn('Undecodable permissions %s, returning default' % mode)
                mode = 0o644
        path = os.path.abspath(entry['path'])
        write(path, data, int(mode), 'ab' if entry.get('append') else 'wb')
        user, _, group = str(entry.get('owner') or 'root:root').partition(':')
        shutil.chown(path, user or None, group or None)


def hostname(config):
    if config.get('preserve_hostname'):
        return
    name, fqdn = config.get('hostname'), config.get('fqdn')
    if not name and not fqdn:
        return
    fqdn = str(fqdn or name)
    name = str(name or fqdn).split('.')[0]
    if config.get('prefer_fqdn_over_hostname'):
        name = fqdn
    subprocess.run(['hostname', name])
    write('/etc/hostname', name + '\n', 0o644)
    write('/etc/hosts', '127.0.0.1 localhost %s %s\n' % (fqdn, name), 0o644)


def as_list(x):
    if isinstance(x, str):
        return [y.strip() for y in x.split(',')]
    return list(x.values()) if isinstance(x, dict) else list(x or [])


def authorize(user, keys, prefix=''):
    p = pwd.getpwnam(user)
    folder = p.pw_dir + '/.ssh'
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = folder + '/authorized_keys'
    have = []
    if os.path.exists(path) and not prefix:
        with open(path) as f:
            have = f.read().splitlines()
    for k in keys:
        k = prefix + str(k).strip()
        if k.strip() and k not in have:
            have.append(k)
    write(path, ''.join(k + '\n' for k in have), 0o600)
    for x in (folder, path):
        os.chown(x, p.pw_uid, p.pw_gid)


def make_user(name, u):
    try:
        pwd.getpwnam(name)
    except KeyError:
        argv = ['useradd', '--password', '*', '--user-group',
                '--shell', u.get('shell') or '/bin/sh',
                '--comment', u.get('gecos') or '']
        argv.append('--no-create-home' if u.get('no_create_home')
                    else '--create-home')
        for key in ('uid', 'homedir'):
            if u.get(key):
                argv += ['--' + {'homedir': 'home-dir'}.get(key, key),
                         str(u[key])]
        if u.get('primary_group'):
            argv.remove('--user-group')
            argv += ['--gid', u['primary_group']]
        subprocess.run(argv + [name], check=True)
    for group in as_list(u.get('groups')):
        subprocess.run(['groupadd', '--force', group])
        subprocess.run(['usermod', '--append', '--groups', group, name])
    for rule in [u['sudo']] if isinstance(u.get('sudo'), str) else \
            u.get('sudo') or []:
        write('/etc/sudoers.d/90-cloud-init-users', '%s %s\n' % (name, rule),
              0o440, 'ab')
    keys = u.get('ssh_authorized_keys') or []
    if keys:
        authorize(name, [keys] if isinstance(keys, str) else as_list(keys))


def default_user(config):
    """Its name and settings; (None, {}) where `users` leaves it out."""
    extra = config.get('user') or {}
    if not isinstance(extra, dict):
        extra = {'name': extra}
    if not any(u == 'default' or isinstance(u, dict) and
               u.get('name') == 'default'
               for u in as_list(config.get('users', ['default']))):
        return None, {}
    return extra.get('name', DEFAULT_USER), extra


def users(config):
    default, extra = default_user(config)
    if isinstance(config.get('groups'), (list, dict)):
        for g in config['groups']:
            for one in g if isinstance(g, dict) else [g]:
                subprocess.run(['groupadd', '--force', str(one)])
    if default and default != DEFAULT_USER:
        make_user(default, dict({'shell': '/bin/bash',
                                 'sudo': 'ALL=(ALL) NOPASSWD:ALL'},
                                **{k.replace('-', '_'): v
                                   for k, v in extra.items()}))
    for entry in as_list(config.get('users')):
        if entry == 'default' or (isinstance(entry, dict) and
                                  entry.get('name') == 'default'):
            continue
        if isinstance(entry, str):
            make_user(entry, {})
        else:
            make_user(entry['name'], {k.replace('-', '_'): v
                                      for k, v in entry.items()})
    if default != DEFAULT_USER:     # guest-init has made it already
        subprocess.run(['userdel', '-f', '-r', DEFAULT_USER],
                       stderr=subprocess.DEVNULL)
        for path in ('/builds', '/cache'):
            shutil.chown(path, default or 'root', default or 'root')


def ssh(config, default):
    if config.get('ssh_deletekeys', True):
        for path in glob.glob('/etc/ssh/ssh_host_*key*'):
            os.unlink(path)
    given = config.get('ssh_keys')
    if given is not None:
        for key, value in given.items():
            m = re.fullmatch(r'(rsa|dsa|ecdsa|ed25519)_'
                             r'(private|public|certificate)', key)
            if not m:
                warn('Skipping unrecognized ssh_keys entry: "%s"' % key)
                continue
            path = '/etc/ssh/ssh_host_%s_key' % m[1] + {
                'private': '', 'public': '.pub',
                'certificate': '-cert.pub'}[m[2]]
            write(path, value, 0o600)
            if m[2] == 'certificate':
                write('/etc/ssh/sshd_config.d/50-cloud-init.conf',
                      'HostCertificate %s\n' % path, 0o600, 'ab')
        for key in given:
            kind = key.split('_')[0]
            path = '/etc/ssh/ssh_host_%s_key' % kind
            if key == kind + '_private' and kind + '_public' not in given:
                made = subprocess.run(['ssh-keygen', '-yf', path],
                                      stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True)
                if made.returncode:
                    warn('Failed generating a key for %s.pub from %s: %s'
                         % (path, path, made.stderr.strip()))
                else:
                    write(path + '.pub', made.stdout.strip() +
                          ' root@localhost\n', 0o644)
    else:
        for kind in as_list(config.get('ssh_genkeytypes',
                                       ['ecdsa', 'ed25519'])):
            path = '/etc/ssh/ssh_host_%s_key' % kind
            if not os.path.exists(path):
                subprocess.run(['ssh-keygen', '-q', '-t', kind, '-N', '',
                                '-f', path])
    keys = []
    if config.get('allow_public_ssh_keys', True):
        with open('/guest/keys') as f:
            keys = f.read().splitlines()
    keys += as_list(config.get('ssh_authorized_keys'))
    if default:
        authorize(default, keys)
    no_root = config.get('disable_root', False)
    authorize('root', keys, NO_ROOT % (default or 'NONE') + ' '
              if no_root else '')


def keys_to_console():
    found = sorted(glob.glob('/etc/ssh/ssh_host_*key.pub'))
    if found:
        lines = [subprocess.run(['ssh-keygen', '-lf', path], text=True,
                                capture_output=True).stdout.strip()
                 for path in found]
        for line in (['#' * 61, '-----BEGIN SSH HOST KEY FINGERPRINTS-----'] +
                     lines + ['-----END SSH HOST KEY FINGERPRINTS-----',
                              '#' * 61]):
            print(time.strftime('<14>%b %e %H:%M:%S cloud-init: ') + line)
        print('-----BEGIN SSH HOST KEY KEYS-----')
        for path in found:
            with open(path) as f:
                print(f.read(), end='')     # as given, like cloud-init
        print('-----END SSH HOST KEY KEYS-----', flush=True)


def phone_home(config):
    import urllib.parse
    import urllib.request
    what = config['phone_home']
    with open('/guest/instance-id') as f:
        uuid = f.read().strip()
    name = os.uname().nodename
    data = {'instance_id': uuid, 'hostname': name,
            'fqdn': str(config.get('fqdn') or name)}
    for kind in ('rsa', 'ecdsa', 'ed25519'):
        try:
            with open('/etc/ssh/ssh_host_%s_key.pub' % kind) as f:
                data['pub_key_' + kind] = f.read()
        except OSError:
            data['pub_key_' + kind] = 'N/A'
    post = what.get('post', 'all')
    body = urllib.parse.urlencode(
        {k: data.get(k, 'N/A') for k in (data if post == 'all' else post)})
    url = re.sub(r'\$(INSTANCE_ID\b|\{INSTANCE_ID\})', uuid, what['url'])
    tries = int(what.get('tries', 10))
    for left in reversed(range(tries)):
        try:
            urllib.request.urlopen(url, body.encode(), timeout=10).close()
            return
        except OSError as e:
            if not left:
                warn('Failed to post phone home data to %s in %d tries: %s'
                     % (url, tries, e))
            else:
                time.sleep(3)


def attempt(name, function, *args):
    try:
        return function(*args)
    except Exception as e:
        warn('Failed to run module %s: %s' % (name, e))
        errors.append("('%s', %s)" % (name, e))


def init():
    stage('init', True)
    with open('/guest/user-data', 'rb') as f:
        data = f.read()
    os.makedirs(LIB, exist_ok=True)
    write(LIB + '/user-data.txt', data, 0o600)
    config = attempt('userdata', configuration, data) or {}
    write(LIB + '/cloud-config.txt', json.dumps(config, default=repr), 0o600)
    attempt('bootcmd', bootcmd, config)
    attempt('write-files', write_files, config, False)
    attempt('set_hostname', hostname, config)
    attempt('users-groups', users, config)
    attempt('ssh', ssh, config, default_user(config)[0])
    if config.get('runcmd'):
        attempt('runcmd', lambda: script('runcmd', shellify(config['runcmd'])))
    stage('init', False)


def final():
    stage('modules-final', True)
    tee = subprocess.Popen(['tee', '-a', '/var/log/cloud-init-output.log'],
                           stdin=subprocess.PIPE)
    os.dup2(tee.stdin.fileno(), 1)
    os.dup2(tee.stdin.fileno(), 2)
    config = load(LIB + '/cloud-config.txt')
    attempt('write-files-deferred', write_files, config, True)
    failed = [path for path in sorted(glob.glob(LIB + '/scripts/*'))
              if command([path], os.path.basename(path))]
    if failed:
        warn('Failed to run module scripts-user (scripts in %s/scripts)' % LIB)
        errors.append("('scripts-user', RuntimeError('Runparts: %d failures "
                      "(%s)'))" % (len(failed), ','.join(
                          os.path.basename(x) for x in failed)))
    if (config.get('ssh') or {}).get('emit_keys_to_console', True):
        attempt('keys-to-console', keys_to_console)
    if config.get('phone_home'):
        attempt('phone-home', phone_home, config)
    with open('/proc/uptime') as f:
        print(config.get('final_message') or 'cloud-init finished at %s, up %s'
              % (time.ctime(), f.read().split()[0]), flush=True)
    stage('modules-final', False)


if __name__ == '__main__':
    what = sys.argv[1] if len(sys.argv) > 1 else ''
    if what == 'status':
        status(sys.argv[2:])
    elif what in ('init', 'final') and os.path.exists('/guest/user-data'):
        {'init': init, 'final': final}[what]()
    else:
        sys.exit('usage: cloud-init status [--wait] [--long] [--format json]'
                 '\n(a stand-in: this is a sandbox of the tests)')
