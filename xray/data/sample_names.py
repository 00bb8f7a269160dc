"""What a view of a data set is called where it is one sample of many: in tables, and in the names of its files."""

from __future__ import annotations

import hashlib
import os

LONGEST_STEM = 200
"""Bytes of a sample's name in the names of its files, which have endings; file systems take 255 in all."""

XRAY_ENDING = "_xray.npz"
"""Of the X-Ray that a stage predicted: <file stem>_xray.npz."""


def sample_name(object_id: str, view: str) -> str:
    """<object>_<view>, by which a sample is known in tables, and from which its seed follows.

    A view with an underscore gets a sum of both names: the view b_0 of a is not the view 0 of a_b.
    """
    name = f"{object_id}_{view}"
    return f"{name}-{_sum(f'{object_id}/{view}')}" if "_" in view else name


def file_stem(name: str) -> str:
    """What a sample's files are called: its name, where that is too long, a path (an object may have one as its id), or
    hidden, its beginning and a sum of all of it. So different samples have different files, all in one folder."""
    if len(os.fsencode(name)) <= LONGEST_STEM and "/" not in name and not name.startswith("."):
        return name
    return f"{name[:40].replace('/', '-').lstrip('.')}-{_sum(name)}"


def _sum(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
