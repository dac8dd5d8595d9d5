"""Children, and finding every process that belongs to a server.

A process belongs to a server when it descends from its sshd, carries
NOVASIM_SERVER=<id> in its environment, or (if it also descends from the
cloud, which adopts orphans) works in the server's directory.
"""
import ctypes
import os
import signal
import subprocess
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
_lock = threading.Lock()
_known = {}             # pid -> Popen, of those that somebody waits for


def adopt_orphans():
    """Makes this process the parent of the servers' orphans, reaps them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_reap, daemon=True).start()


def _reap():
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            time.sleep(0.1)
            continue
        with _lock:
            child = _known.get(info.si_pid)
            if child is not None:
                if child.poll() is not None:
                    _known.pop(info.si_pid)
                    continue
        if child is not None:   # its own wait() is about to take it
            time.sleep(0.001)
            continue
        with _lock:
            try:
                os.waitpid(info.si_pid, os.WNOHANG)
            except ChildProcessError:
                pass


def start(argv, **options):
    """subprocess.Popen that the reaper knows of."""
    options.setdefault('stdin', subprocess.DEVNULL)
    with _lock:
        child = subprocess.Popen(argv, start_new_session=True, **options)
        _known[child.pid] = child
    return child


def output(argv):
    """What a command prints; raises OSError when it fails."""
    child = start(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = child.stdout.read().decode('utf-8', 'replace')
    child.stdout.close()
    if child.wait() != 0:
        raise OSError('%s: %s' % (argv[0], text.strip()))
    return text


def parents():
    """{pid: parent's pid} of all processes, zombies left out."""
    found = {}
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open('/proc/%s/stat' % name, 'rb') as f:
                state, parent = f.read().rpartition(b')')[2].split()[:2]
        except OSError:
            continue
        if state not in (b'Z', b'X'):
            found[int(name)] = int(parent)
    return found


def below(roots, parent_of):
    """The roots that live and all their descendants."""
    children = {}
    for pid, parent in parent_of.items():
        children.setdefault(parent, []).append(pid)
    found, todo = set(), [r for r in roots if r in parent_of]
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def tagged(pids, tag):
    """Those with this NAME=VALUE in their environment."""
    wanted, found = tag.encode(), set()
    for pid in pids:
        try:
            with open('/proc/%d/environ' % pid, 'rb') as f:
                if wanted in f.read().split(b'\0'):
                    found.add(pid)
        except OSError:
            pass
    return found


def _inside(pids, folder):
    found = set()
    for pid in pids:
        try:
            where = os.readlink('/proc/%d/cwd' % pid)
        except OSError:
            continue
        if (where + '/').startswith(folder + '/'):
            found.add(pid)
    return found


def of_server(tag, roots, folder):
    """All processes of a server, see above."""
    parent_of = parents()
    me = os.getpid()
    mine = below([me], parent_of)
    found = below(roots, parent_of) | tagged(parent_of, tag) \
        | _inside(mine, folder)
    return below(found - {me}, parent_of) - {me}


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def name_of(pid):
    """The process's comm, None when it is gone."""
    try:
        with open('/proc/%d/comm' % pid, encoding='utf-8') as f:
            return f.read().strip()
    except OSError:
        return None


def stop_all(find):
    """STOPs what find() returns until it returns no other."""
    seen = set()
    while True:
        fresh = set(find()) - seen
        if not fresh:
            return
        signal_all(fresh, signal.SIGSTOP)
        seen |= fresh


def end_all(find):
    """KILLs what find() returns until it returns nothing."""
    for attempt in range(100):
        pids = find()
        if not pids:
            return
        signal_all(pids, signal.SIGKILL)
        time.sleep(0.005 if attempt < 10 else 0.05)
