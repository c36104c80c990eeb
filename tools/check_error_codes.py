#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the error codes of the public header, of the sources and of the documentation are the same.

usage: check_error_codes.py [ROOT]

Header: the enumerators of ErrorCode in include/railyard/error.hpp, each (except `ok`) with its name in a comment.
Documentation: headings `## RY-...` of docs/troubleshooting.md, each followed by "Cause:" and "Remedy:".
Sources: string literals "RY-..." in src/ are exactly the codes (the table behind code_name).
"""
import pathlib
import re
import sys

ENUM = re.compile(r"enum class ErrorCode[^{]*\{(.*?)\};", re.DOTALL)
ENUMERATOR = re.compile(r"^\s*([a-z_]+)\s*(?:=[^,/]*)?,?\s*(?://\s*(RY-[A-Z0-9-]+)?.*)?$")
SECTION = re.compile(r"^## (RY-[A-Z0-9-]+)\s*$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
LITERAL = re.compile(r'"(RY-[A-Z0-9-]+)"')


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    errors = []
    body = ENUM.search((root / "include/railyard/error.hpp").read_text(encoding="utf-8")).group(1)
    codes = set()
    for line in body.splitlines():
        match = ENUMERATOR.match(line)
        if not match or match.group(1) == "ok":
            continue
        enumerator, commented = match.groups()
        expected = "RY-" + enumerator.upper().replace("_", "-")
        if commented != expected:
            errors.append(f"error.hpp: {enumerator} is commented {commented}, not {expected}")
        codes.add(expected)
    sections = dict(SECTION.findall((root / "docs/troubleshooting.md").read_text(encoding="utf-8")))
    for code in sorted(codes - set(sections)):
        errors.append(f"docs/troubleshooting.md: no section for {code}")
    for code in sorted(set(sections) - codes):
        errors.append(f"docs/troubleshooting.md: {code} is no code of error.hpp")
    for code, text in sections.items():
        for word in ("Cause:", "Remedy:"):
            if word not in text:
                errors.append(f"docs/troubleshooting.md: {code} has no '{word}'")
    literals = {}
    for path in sorted((root / "src").rglob("*.[ch]pp")):
        for code in LITERAL.findall(path.read_text(encoding="utf-8")):
            literals.setdefault(code, path.relative_to(root))
    for code in sorted(set(literals) - codes - {"RY-OK"}):
        errors.append(f"{literals[code]}: {code} is no code of error.hpp")
    for code in sorted(codes - set(literals)):
        errors.append(f"src: no string \"{code}\"; code_name cannot return it")
    print("\n".join(errors + [f"{len(codes)} codes, {len(sections)} documented, {len(errors)} disagreements"]))
    return 1 if errors or not codes else 0


if __name__ == "__main__":
    sys.exit(main())
