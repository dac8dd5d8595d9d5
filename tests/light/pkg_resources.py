# SPDX-License-Identifier: MIT
"""munch, which wants to know its own version, would have every package there is looked at."""


class Distribution:
    version = "0.0.0"


def get_distribution(_name):
    return Distribution
