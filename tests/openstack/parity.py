#!/usr/bin/python3
"""parity.py CLIENT OPENRC - what the openstack client prints for the same commands, made comparable between clouds.

One session of the client gets the commands novajob uses, right and wrong ones. For each is printed: the command, then
the shape of its JSON (a line for each key: its type or word; a list is as its first element), or its stderr without
what differs by nature: ids, URLs, request ids."""
import json
import os
import re
import subprocess
import sys
import threading
import time

MARKER = 'module list -f json -c openstackclient'
NAME = 'gitlab-builder-7-project-42-concurrent-0-job-%d' % (os.getpid() + 10 ** 9)
NOBODY = '01234567-89ab-cdef-0123-456789abcdef'
# The simulated cloud differs in these: it knows the host at once, tells a group's
# name in the create answer, speaks another microversion. novajob looks at none.
ANY = {'OS-EXT-AZ:availability_zone', 'hostId', 'security_groups',
       'OS-EXT-SRV-ATTR:hostname', 'pinned_availability_zone'}
# compared by value, not by type
VALUES = {'status', 'Status', 'name', 'Name', 'OS-EXT-STS:vm_state',
          'OS-EXT-STS:task_state', 'Task State'}
LIST = ("server list -n --long -f json -c ID -c Name -c Status "
        "-c \"'Task State'\" -c Networks -c Properties ")


def session(client, env):
    p = subprocess.Popen([client], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=env, text=True, cwd='/')
    errors = []

    def drain():
        for line in p.stderr:
            errors.append(line)
    threading.Thread(target=drain, daemon=True).start()

    def ask(command):
        """(stdout, stderr) of one command"""
        del errors[:]
        p.stdin.write(command + '\n' + MARKER + '\n')
        p.stdin.flush()
        out = ''
        while True:
            line = p.stdout.readline()
            if not line:
                return out, ''.join(errors) + '(the client ended)'
            out += line
            found = re.search(r'^\{\s*"openstackclient": ".*"\s*\}\s*\Z', out,
                              re.M)
            if found:
                time.sleep(0.05)    # for the other thread
                return out[:found.start()], ''.join(errors)
    return p, ask


def shape(x, key=None):
    if isinstance(x, dict):
        if key in ('addresses', 'Networks'):
            return {k: ['address'] for k in x}
        return {k: shape(v, k) for k, v in x.items() if k not in ANY}
    if isinstance(x, list):
        return [shape(x[0])] if x else []
    if isinstance(x, str) and key in VALUES:
        return plain(x)
    if x in ('', None):     # where one version has "", another has null
        return 'none'
    return 'text' if isinstance(x, str) else type(x).__name__


def plain(text):
    for pattern, to in (
            (NAME, 'NAME'), (r' ?\(Request-ID: req-[-0-9a-f]{32,36}\)', ''),
            # the words before the status are the service's, and change
            (r'Invalid (filters|input for query parameters) name\b[^(]*', '… '),
            (r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID'),
            (r'https?://[^\s,;]+', 'URL'), (r'0x[0-9a-f]+', 'ADDRESS'),
            (r'\b127\.0\.0\.1\b', 'HOST'), (r'port=\d+', 'port=N'),
            (r'\b[0-9a-f]{32}\b', 'ID')):
        text = re.sub(pattern, to, text)
    return ' | '.join(x.strip() for x in text.splitlines() if x.strip())


def wrong_accounts(client, env):
    for key, value, said in (('OS_PASSWORD', 'wrong', 'a wrong password'),
                             ('OS_PROJECT_NAME', 'nosuch', 'a wrong project'),
                             ('OS_REGION_NAME', 'nosuch', 'a wrong region')):
        r = subprocess.run([client, 'server', 'list', '-n', '-f', 'json'],
                           env=dict(env, **{key: value}), text=True, cwd='/',
                           stdin=subprocess.DEVNULL, capture_output=True)
        print(said, '=> exit %d' % r.returncode, plain(r.stderr), flush=True)


def main():
    client, rc = sys.argv[1:3]
    out = subprocess.run(['bash', '-c', '. "$0"; env -0', rc],
                         stdout=subprocess.PIPE, check=True).stdout
    env = dict(x.split('=', 1) for x in out.decode().split('\0') if x)
    env['PYTHONUNBUFFERED'] = '1'
    p, ask = session(client, env)

    def tell(command, said=None):
        out, err = ask(command)
        answer = None
        if out.strip():
            try:
                answer = json.loads(out)
                seen = json.dumps(shape(answer), sort_keys=True, indent=1)
            except ValueError:
                seen = 'text'
        else:
            seen = 'stderr: ' + plain(err)
        print(plain(said or command), '=>', seen, flush=True)
        return answer

    def create(more, said=None):
        return tell('server create -f json --image=builder-one '
                    '--flavor=m1.tiny --network=ci-net --security-group=ci '
                    '--key-name=ci-key ' + more, said)

    def until(done, server_id):
        for _ in range(200):
            out, _ = ask(LIST + '--name=^%s$' % NAME)
            servers = json.loads(out or '[]')
            if done([s for s in servers if s['ID'] == server_id]):
                return
            time.sleep(0.2)
        print('never:', server_id)

    tell('image list -f json -c ID -c Name --status active '
         '--sort updated_at:desc --name=builder')
    tell('image list -f json -c ID -c Name --status active --name=nosuch')
    for kind, name in (('flavor', 'm1.tiny'), ('network', 'ci-net'),
                       ('security group', 'ci'), ('keypair', 'ci-key')):
        tell('%s show -f json -c id -c name %s' % (kind, name))
        tell('%s show -f json nosuch' % kind)
    tell(LIST + '--name=-job-0$')
    tell(LIST + '--name=[')
    for wrong in ('--image=nosuch', '--image=builder', '--flavor=nosuch',
                  '--network=nosuch', '--security-group=nosuch',
                  '--key-name=nosuch', '--availability-zone=nosuch'):
        create(wrong + ' ' + NAME)
    tell('server create -f json --image=builder-one --flavor=m1.tiny ' + NAME,
         'server create without a network')
    tell('server show -f json ' + NOBODY, 'server show ID-of-nobody')
    tell('server delete ' + NOBODY, 'server delete ID-of-nobody')
    tell('console log show ' + NOBODY, 'console log show ID-of-nobody')
    server = create('--property=novajob:owner=x --property=novajob:job=y ' +
                    NAME) or {}
    if 'id' in server:
        until(lambda s: s and s[0]['Status'] == 'ACTIVE', server['id'])
        tell(LIST + '--name=^%s$' % NAME)
        tell('server show -f json ' + server['id'])
        tell('server delete ' + server['id'])
        until(lambda s: not s, server['id'])
        tell('server delete ' + server['id'], 'server delete, again')
    server = tell('server create -f json --image=builder-one '
                  '--flavor=m1.absurd --network=ci-net ' + NAME) or {}
    if 'id' in server:
        until(lambda s: s and s[0]['Status'] == 'ERROR', server['id'])
        tell(LIST + '--name=^%s$' % NAME)
        tell('server show -f json ' + server['id'])
        tell('console log show ' + server['id'], 'console log of ERROR')
        tell('server delete ' + server['id'])
        until(lambda s: not s, server['id'])
    tell('nosuch command')
    p.stdin.close()
    p.wait(10)
    wrong_accounts(client, env)


main()
