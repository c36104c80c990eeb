#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy over the sources of the library and the command line program, but for those that include CLI11.

usage: run_clang_tidy.py BUILD_DIRECTORY [--jobs N]

The build directory must be configured for clang with Ninja, and built: its record of dependencies says which files a
result rests on. A file that passed is not checked again until it, a header that it includes, its flags or .clang-tidy
change. Exits 1 if a file has findings.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def dependencies(build):
    """Object -> the files that it was compiled from, as Ninja recorded them."""
    listing = subprocess.run(["ninja", "-C", build, "-t", "deps"], check=True, capture_output=True, text=True).stdout
    result, current = {}, None
    for line in listing.splitlines():
        if line.startswith("    "):
            current.append(line.strip())
        elif ": #deps" in line:
            current = result.setdefault(line.split(": #deps")[0], [])
    return result


def digest_of(entry, files, configuration):
    digest = hashlib.sha256(configuration)
    digest.update(entry["command"].encode())
    for name in sorted(set(files) | {entry["file"]}):
        path = pathlib.Path(entry["directory"], name)
        if ROOT in path.resolve().parents:
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def reads_command_line(source):
    """CLI11 alone would take a fifth of the time; what includes it does little else."""
    return "#include <CLI/CLI.hpp>" in pathlib.Path(source).read_text(encoding="utf-8")


def check(build, source):
    done = subprocess.run(["clang-tidy", "--quiet", "-p", build, source], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + ("" if done.returncode == 0 else done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if not shutil.which("clang-tidy"):
        sys.exit("clang-tidy is not installed")
    build = arguments.build.resolve()
    entries = [entry for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
               if (ROOT / "src") in pathlib.Path(entry["file"]).parents and not reads_command_line(entry["file"])]
    if not entries:
        sys.exit(f"{build}: no source of src/ in compile_commands.json")
    objects = dependencies(build)
    configuration = (ROOT / ".clang-tidy").read_bytes()
    cache = build / "clang_tidy_passed"
    cache.mkdir(exist_ok=True)
    stamps, todo = {}, []
    for entry in entries:
        stamp = cache / digest_of(entry, objects.get(entry.get("output", ""), []), configuration)
        stamps[entry["file"]] = stamp
        if not stamp.exists():
            todo.append(entry["file"])
    begin, failed = time.monotonic(), 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(check, build, source): source for source in todo}
        for done in concurrent.futures.as_completed(running):
            source = running[done]
            status, output = done.result()
            if status == 0:
                stamps[source].touch()
            else:
                failed += 1
                print(output, flush=True)
    print(f"{len(entries)} sources, {len(todo)} checked in {time.monotonic() - begin:.0f} s, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
