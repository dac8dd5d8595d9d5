# SPDX-License-Identifier: MIT
"""Makes a start of the client cheaper in the tests, as tests/lib.bash links it into each test's home (PEP 370): three
quarters of the suite's processor time are such starts. Beside it are modules that the client does without where they are
not installed; here they come with OpenStack's services. No word of the client's own is another one."""

import gc
import os
import sys

gc.disable()  # a process of a second
HERE = os.path.dirname(os.path.realpath(__file__))
# stevedore looks the plug-ins up once for all tests: its cache goes by the module path, so that must be one, too
sys.path = [HERE if os.path.realpath(p) == HERE else p for p in sys.path]
os.environ.setdefault("XDG_CACHE_HOME", os.path.join(HERE, "__pycache__"))
