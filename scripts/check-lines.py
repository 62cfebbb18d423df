#!/usr/bin/env python3
"""Checks that no line of the sources is longer than 100 columns. The dashboard's are Biome's."""

import fnmatch
import pathlib
import subprocess
import sys

COLUMNS = 100
FILES = ("*.rs", "*.py", "*.sh", "*.toml", "*.yaml", "Makefile", "Dockerfile", ".ci/run")
# What cannot be broken: a file and how such a line of it begins.
EXCEPTIONS = (("Dockerfile", "FROM rust:"),)

listed = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd=pathlib.Path(__file__).parent.parent,
    check=True,
    capture_output=True,
    text=True,
)
faults = 0
for name in sorted(set(listed.stdout.split("\0"))):
    file = pathlib.Path(__file__).parent.parent / name
    if not file.is_file() or not any(fnmatch.fnmatch(name, pattern) for pattern in FILES):
        continue
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        known = any(name == where and line.startswith(start) for where, start in EXCEPTIONS)
        if len(line) > COLUMNS and not known:
            print(f"{name}:{number}: {len(line)} columns, at most {COLUMNS}")
            faults += 1
sys.exit(f"{faults} lines are too long" if faults else 0)
