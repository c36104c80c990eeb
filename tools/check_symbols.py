#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the shared library exports and what it needs.

usage: check_symbols.py LIBRARY

Exports must belong to namespace railyard or begin with railyard_. It may need only the C and C++ run time.
Uses nm and readelf.
"""
import re
import subprocess
import sys

EXPORT = re.compile(r"^((typeinfo|typeinfo name|vtable|VTT) for )?railyard::|^railyard_")
NEEDED = re.compile(r"^(libc\.so\.6|libm\.so\.6|libstdc\+\+\.so\.6|libgcc_s\.so\.1|ld-linux[-a-z0-9_]*\.so\.\d+)$")


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    library = sys.argv[1]
    exported = []
    for line in output_of("nm", "--dynamic", "--defined-only", "--demangle", library).splitlines():
        exported.append(line.split(" ", 2)[2])
    foreign = [symbol for symbol in exported if not EXPORT.match(symbol)]
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "--dynamic", "--wide", library))
    unexpected = [name for name in needed if not NEEDED.match(name)]
    for symbol in foreign:
        print(f"exported, but not of railyard: {symbol}")
    for name in unexpected:
        print(f"needed, but not of the C or C++ run time: {name}")
    if not exported:
        print("nothing is exported")
    print(f"{len(exported)} symbols exported, {len(foreign)} foreign; needs {', '.join(needed) or 'nothing'}")
    return 1 if foreign or unexpected or not exported else 0


if __name__ == "__main__":
    sys.exit(main())
