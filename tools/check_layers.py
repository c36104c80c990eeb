#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who may include whom.

usage: check_layers.py [ROOT]

Layers include only themselves and lower ones. The public headers include only each other and the standard library,
never src/. The reference stands alone: <railyard/types.hpp>, <railyard/error.hpp>, the standard library and itself.
Inline assembly stands only in src/device; spdlog is used only in src/diagnostics.
Prints `file:line: why` for each violation and exits 1 if there is one.
"""
import pathlib
import re
import sys

# From the highest to the lowest. Folders on one line do not see each other.
LAYERS = [
    ["cli"],
    ["api"],
    ["tuning"],
    ["throughput", "low_latency"],
    ["transports"],
    ["symmetric_memory"],
    ["topology"],
    ["bootstrap"],
    ["routing"],
    ["codecs"],
    ["device"],
    ["diagnostics"],
]
HEIGHT = {folder: len(LAYERS) - index for index, tier in enumerate(LAYERS) for folder in tier}
REFERENCE_MAY_INCLUDE = {"railyard/types.hpp", "railyard/error.hpp"}
PUBLIC_MAY_NAME = re.compile(r"^(railyard/[a-z0-9_]+\.hpp|[a-z0-9_]+)$")
SOURCE_SUFFIXES = {".hpp", ".cpp", ".cuh", ".cu", ".inl", ".h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ASM = re.compile(r"\b(asm|__asm__|__asm)\b\s*(volatile|__volatile__|goto|inline)?\s*\(")
COMMENT = re.compile(r"//.*$")


def private_include_error(folder, target):
    """Why a file of src/<folder> may not include "target", or None."""
    if "/" not in target:
        return None if folder == "" else f'"{target}" does not name its folder: write "{folder}/{target}"'
    other = target.split("/", 1)[0]
    if ".." in target.split("/"):
        return f'"{target}" leaves its folder: include paths are relative to src/'
    if other == folder:
        return None
    if folder == "reference":
        return f'the reference stands alone and may not include "{target}"'
    if other == "reference":
        return None if folder == "cli" else f'only cli may include the reference ("{target}")'
    if other not in HEIGHT:
        return f'"{target}" is in no layer (known: {", ".join(sorted(HEIGHT))})'
    if HEIGHT[other] >= HEIGHT[folder]:
        return f'"{target}": {other} is not below {folder}'
    return None


def violations_of(path, root):
    relative = path.relative_to(root)
    public = relative.parts[0] == "include"
    folder = "" if public or len(relative.parts) == 2 else relative.parts[1]
    if not public and folder and folder != "reference" and folder not in HEIGHT:
        yield 1, f"src/{folder} is in no layer (known: {', '.join(sorted(HEIGHT))})"
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            quote, target = match.groups()
            if public:
                if quote == '"':
                    yield number, f'a public header includes "{target}"; only <railyard/...> and <standard> are allowed'
                elif not PUBLIC_MAY_NAME.match(target):
                    yield number, f"a public header includes <{target}>, neither <railyard/...> nor the standard library"
            elif target.startswith("railyard/"):
                if quote == '"':
                    yield number, f'public headers are included as <{target}>'
                elif folder == "reference" and target not in REFERENCE_MAY_INCLUDE:
                    yield number, f"the reference stands alone and may not include <{target}>"
            elif quote == '"':
                error = private_include_error(folder, target)
                if error:
                    yield number, error
            elif folder == "reference" and not re.fullmatch(r"[a-z0-9_]+", target):
                yield number, f"the reference uses only the standard library, not <{target}>"
            elif target.startswith("spdlog/") and folder != "diagnostics":
                yield number, f"<{target}>: only src/diagnostics uses spdlog"
        elif ASM.search(COMMENT.sub("", line)) and folder != "device":
            yield number, "inline assembly outside src/device"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    files = sorted(
        path for top in ("include", "src") for path in (root / top).rglob("*") if path.suffix in SOURCE_SUFFIXES)
    if not files:
        sys.exit(f"{root}: no sources in include/ or src/")
    count = 0
    for path in files:
        for number, why in violations_of(path, root):
            print(f"{path.relative_to(root)}:{number}: {why}")
            count += 1
    print(f"{len(files)} files, {count} violations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
