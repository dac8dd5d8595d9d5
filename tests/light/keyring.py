# SPDX-License-Identifier: MIT
raise ImportError("not in the tests")
