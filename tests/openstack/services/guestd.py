"""Gives each ACTIVE server of the fake hypervisor a body: a sandbox with its
own processes, host name and copy-on-write root file system, and an sshd that
answers on port 22 of the server's fixed addresses (127.0.0.0/8, or IPv6 that
is local by AnyIP) and of the floating addresses associated with them. An
address without an ACTIVE server refuses the connection; a deleted server's
processes die with it. Plays the L3 agent too: a floating address becomes
ACTIVE when associated, DOWN when not.
"""
import base64
import os
import selectors
import signal
import socket
import subprocess
import sys
import time

import pymysql

import knobvirt

STATE = os.environ['TEST_OPENSTACK']
INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                    'guest-init')
QUERY = """
select i.uuid, i.display_name, i.hostname, i.key_data, i.user_data,
       a.ip_address, f.floating_ip_address
from nova_cell1.instances i
join neutron.ports p on p.device_id = i.uuid
join neutron.ipallocations a on a.port_id = p.id
left join neutron.floatingips f
  on f.fixed_port_id = p.id and f.fixed_ip_address = a.ip_address
where i.deleted = 0 and i.host like 'fake%' and i.vm_state = 'active'
  and i.power_state = 1
  and (i.task_state is null or i.task_state <> 'deleting')
"""
FLOATING = """
select id, if(fixed_port_id is null, 'DOWN', 'ACTIVE')
from neutron.floatingips
where status <> if(fixed_port_id is null, 'DOWN', 'ACTIVE')
"""
PORT = int(os.environ.get('NOVAJOB_TEST_OPENSTACK_SSH_PORT', '22'))
IPV6_FREEBIND = 78


def listen(address):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.bind((address, PORT))
        sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


class Guest:
    def __init__(self, row):
        (self.uuid, self.name, self.hostname, self.key,
         self.user_data) = row[:5]
        self.since = time.monotonic()
        self.boot = knobvirt.knobs(self.name).get('boot', 0)
        self.listeners, self.refused = {}, set()
        self.proc = None
        self.ready = False
        self.dir = os.path.join(STATE, 'guests', self.uuid)

    def power_on(self):
        os.makedirs(self.dir, exist_ok=True)
        if os.path.exists(os.path.join(self.dir, 'ready')):
            os.unlink(os.path.join(self.dir, 'ready'))
        with open(os.path.join(self.dir, 'authorized_keys'), 'w') as f:
            f.write((self.key or '').strip() + '\n')
        with open(os.path.join(self.dir, 'user-data'), 'wb') as f:
            f.write(base64.b64decode(self.user_data or ''))
        with open(os.path.join(self.dir, 'console.log'), 'ab') as log:
            self.proc = subprocess.Popen(
                ['unshare', '--mount', '--pid', '--uts', '--ipc', '--fork',
                 '--kill-child', 'bash', INIT, self.dir,
                 self.hostname or 'guest', self.uuid],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def init_pid(self):
        path = '/proc/%d/task/%d/children' % (self.proc.pid, self.proc.pid)
        with open(path) as f:
            return int(f.read().split()[0])

    def serve(self, addresses, selector):
        """Listens on these addresses and no others."""
        for a in [a for a in self.listeners if a not in addresses]:
            sock = self.listeners.pop(a)
            selector.unregister(sock)
            sock.close()
            print('off %s %s' % (a, self.name), flush=True)
        for a in addresses - set(self.listeners):
            try:
                self.listeners[a] = listen(a)
            except OSError as e:
                if a not in self.refused:
                    print('%s %s: %s' % (a, self.name, e), flush=True)
                    self.refused.add(a)
                continue
            selector.register(self.listeners[a], selectors.EVENT_READ, self)
            print('on %s %s' % (a, self.name), flush=True)

    def accept(self, sock):
        conn, _ = sock.accept()
        try:
            pid = self.init_pid()
            with open(os.path.join(self.dir, 'sshd.log'), 'ab') as log:
                return subprocess.Popen(
                    ['nsenter', '-t', str(pid), '-m', '-u', '-i', '-p',
                     '-r', '-w', '/usr/sbin/sshd', '-i', '-f',
                     '/etc/ssh/guest_sshd_config'],
                    stdin=conn, stdout=conn, stderr=log)
        except (OSError, IndexError) as e:
            print('%s: %s' % (self.name, e), flush=True)
        finally:
            conn.close()

    def power_off(self, selector):
        self.serve(set(), selector)
        if self.proc:
            self.proc.kill()
            self.proc.wait()
        # the sandbox's mounts go with its namespace
        for name in ('authorized_keys', 'user-data', 'ready'):
            try:
                os.unlink(os.path.join(self.dir, name))
            except OSError:
                pass


def ask(db):
    """One look at the database: {uuid: (row, addresses)}."""
    servers = {}
    with db.cursor() as cursor:
        cursor.execute(QUERY)
        for row in cursor.fetchall():
            _, addresses = servers.setdefault(row[0], (row, set()))
            for a in row[5:7]:
                if a and (a.startswith('127.') or ':' in a):
                    addresses.add(a)
        cursor.execute(FLOATING)
        for float_id, status in cursor.fetchall():
            cursor.execute('update neutron.floatingips set status = %s '
                           'where id = %s', (status, float_id))
    return {u: s for u, s in servers.items() if s[1]}


def main():
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
    selector = selectors.DefaultSelector()
    guests, sessions, db, polled, seen = {}, [], None, 0, {}
    try:
        while True:
            booting = [g for g in guests.values() if g.proc and not g.ready]
            wait = max(0, polled + 0.3 - time.monotonic())
            for key, _ in selector.select(min(wait, 0.03) if booting
                                          else wait):
                sessions.append(key.data.accept(key.fileobj))
            sessions = [s for s in sessions if s and s.poll() is None]
            for g in booting:
                g.ready = os.path.exists(os.path.join(g.dir, 'ready'))
                if g.ready and g.uuid in seen:
                    g.serve(seen[g.uuid][1], selector)
            if time.monotonic() < polled + 0.3:
                continue
            polled = time.monotonic()
            try:
                if db is None:
                    db = pymysql.connect(
                        user='root', autocommit=True,
                        unix_socket=os.path.join(STATE, 'run/mysql.sock'))
                seen = ask(db)
            except pymysql.Error as e:
                print('database: %s' % e, flush=True)
                db = None
                time.sleep(1)
                continue
            for uuid in [u for u in guests if u not in seen]:
                guests.pop(uuid).power_off(selector)
            for uuid, g in guests.items():  # first what moves elsewhere
                g.serve(seen[uuid][1] & set(g.listeners), selector)
            for uuid, (row, addresses) in seen.items():
                g = guests.get(uuid)
                if g is None:
                    g = guests[uuid] = Guest(row)
                if g.proc is None:
                    if time.monotonic() >= g.since + g.boot:
                        g.power_on()
                elif g.ready:
                    g.serve(addresses, selector)
    finally:
        for g in guests.values():
            g.power_off(selector)


main()
