#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the environment variables that the library reads are those that the documentation lists.

usage: check_configuration.py [ROOT]

Read: every "RAILYARD_..." string literal and every getenv("...") in src/.
Documented: every heading `## RAILYARD_...` of docs/configuration.md, and names in backticks in its section
"Variables of other programs".
"""
import pathlib
import re
import sys

LITERAL = re.compile(r'"(RAILYARD_[A-Z0-9_]+)"')
GETENV = re.compile(r'\bgetenv\s*\(\s*"([A-Za-z0-9_]+)"')
HEADING = re.compile(r"^## `?(RAILYARD_[A-Z0-9_]+)`?\s*$", re.MULTILINE)
OTHERS = re.compile(r"^## Variables of other programs\s*$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SOURCE_SUFFIXES = {".hpp", ".cpp", ".cuh", ".cu"}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    read = {}
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in SOURCE_SUFFIXES:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for name in LITERAL.findall(line) + GETENV.findall(line):
                read.setdefault(name, f"{path.relative_to(root)}:{number}")
    text = (root / "docs/configuration.md").read_text(encoding="utf-8")
    documented = set(HEADING.findall(text))
    for section in OTHERS.findall(text):
        documented |= set(re.findall(r"`([A-Z][A-Z0-9_]+)`", section))
    undocumented = sorted(set(read) - documented)
    unread = sorted(documented - set(read))
    for name in undocumented:
        print(f"{read[name]}: {name} is read but has no section in docs/configuration.md")
    for name in unread:
        print(f"docs/configuration.md: {name} is documented but nothing in src/ reads it")
    print(f"{len(read)} variables read, {len(documented)} documented")
    return 1 if undocumented or unread or not documented else 0


if __name__ == "__main__":
    sys.exit(main())
