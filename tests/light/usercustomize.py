# SPDX-License-Identifier: MIT
"""Makes a start of the client cheaper in the tests, as tests/lib.bash links it into each test's home (PEP 370): three
quarters of the suite's processor time are such starts. Beside it are modules that the client does without where they are
not installed; here they come with OpenStack's services. What the client says and does is the same."""

import atexit
import gc
import marshal
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
CACHE = os.path.join(HERE, "__pycache__")


def cache_plugins():
    """stevedore looks the plug-ins up once for all tests: its cache goes by the module path, so that must be one, too."""
    sys.path = [HERE if os.path.realpath(p) == HERE else p for p in sys.path]
    os.environ.setdefault("XDG_CACHE_HOME", CACHE)


def skip_authors():
    """`help` would tell which package a command is from: cliff reads about every package there is at the first command."""
    import importlib_metadata

    importlib_metadata.packages_distributions = dict


def cache_patterns():
    """A fifth of a start goes into compiling the same 600 regular expressions."""
    import _sre
    from re import _compiler

    path = os.path.join(CACHE, "patterns." + sys.implementation.cache_tag)
    try:
        with open(path, "rb") as f:
            known = marshal.load(f)
    except (OSError, EOFError, ValueError, TypeError):
        known = {}
    began, plain = len(known), _compiler.compile

    def compile_known(p, flags=0):
        if not isinstance(p, (str, bytes)):
            return plain(p, flags)
        key = p, int(flags)
        if key not in known:
            parsed = _compiler._parser.parse(p, flags)
            names = parsed.state.groupdict
            index = [None] * parsed.state.groups
            for name, i in names.items():
                index[i] = name
            code = [int(c) for c in _compiler._code(parsed, flags)]
            known[key] = int(flags) | parsed.state.flags, code, parsed.state.groups - 1, dict(names), tuple(index)
        return _sre.compile(p, *known[key])

    def save():
        if len(known) < began + 20:
            return
        try:
            with open(f"{path}.{os.getpid()}", "wb") as f:
                marshal.dump(known, f)
            os.replace(f.name, path)
        except OSError:
            pass

    _compiler.compile = compile_known
    atexit.register(save)


if os.path.basename(sys.orig_argv[1] if len(sys.orig_argv) > 1 else "") == "openstack":
    os.makedirs(CACHE, exist_ok=True)
    gc.disable()
    cache_plugins()
    skip_authors()
    cache_patterns()
