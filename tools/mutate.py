#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the library on purpose, one line at a time, and fails unless a test notices each time.

usage: mutate.py --all | --sample N [--seed S] | --only NAME... | --list | --check
                 [--release DIR] [--tsan DIR] [--jobs N]

tests/mutants/mutants.ini holds the mutants and the tests that must catch them. The working tree is never changed: a
mutant is a copy of one file in a temporary folder; what includes it is compiled there with the build's own command,
and the test is linked with that object before the library. The builds (build and build/tsan, unless named otherwise)
are configured and brought up to date first. A mutant that no longer applies, or does not compile, is a failure.
"""
import argparse
import concurrent.futures
import configparser
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests/mutants/mutants.ini"
TIME_LIMIT_S = 120
MUTANT_KEYS = {"why", "file", "was", "now", "test", "after", "compile"}
TEST_KEYS = {"build", "program", "filter", "environment"}


class Failure(Exception):
    """Why a mutant could not be tried."""


def read_table():
    table = configparser.ConfigParser(interpolation=None, delimiters=(":",), comment_prefixes=("#",), strict=True)
    table.optionxform = str
    table.read(TABLE, encoding="utf-8")
    tests, mutants = {}, {}
    for name in table.sections():
        is_test = name.startswith("test ")
        keys = dict(table[name])
        unknown = set(keys) - (TEST_KEYS if is_test else MUTANT_KEYS)
        missing = ({"build", "program"} if is_test else {"why", "file", "was", "now", "test"}) - set(keys)
        if unknown or missing:
            sys.exit(f"{TABLE}: [{name}]: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
        (tests if is_test else mutants)[name.removeprefix("test ")] = keys
    for name, mutant in mutants.items():
        if mutant["test"] not in tests:
            sys.exit(f"{TABLE}: [{name}]: no test '{mutant['test']}'")
    return tests, mutants


def mutated_text(mutant):
    """The file with its one line replaced."""
    lines = (ROOT / mutant["file"]).read_text(encoding="utf-8").split("\n")
    first = 0
    if "after" in mutant:
        anchors = [i for i, line in enumerate(lines) if mutant["after"] in line]
        if len(anchors) != 1:
            raise Failure(f"'{mutant['after']}' stands in {len(anchors)} lines of {mutant['file']}, not in one")
        first = anchors[0]
    found = [i for i in range(first, len(lines)) if lines[i].strip() == mutant["was"]]
    if not found or (len(found) > 1 and "after" not in mutant):
        raise Failure(f"'{mutant['was']}' is {len(found)} lines of {mutant['file']}, not one")
    indent = lines[found[0]][: len(lines[found[0]]) - len(lines[found[0]].lstrip())]
    lines[found[0]] = indent + mutant["now"]
    return "\n".join(lines)


class Build:
    """A build directory, up to date with the working tree."""

    def __init__(self, directory, preset, programs, jobs):
        self.directory = pathlib.Path(directory).resolve()
        has_programs = (self.directory / "build.ninja").exists() and subprocess.run(
            ["ninja", "-C", str(self.directory), "-t", "query", *sorted(programs)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        if not has_programs:
            self.run(["cmake", "--preset", preset, "-B", str(self.directory), "-DRAILYARD_BUILD_TESTS=ON"], cwd=ROOT)
        self.run(["ninja", "-C", str(self.directory), "-j", str(jobs), *sorted(programs)])
        commands = json.loads((self.directory / "compile_commands.json").read_text(encoding="utf-8"))
        # A source may be compiled for several targets; the library's own objects are the ones to replace.
        self.compile_commands = {c["file"]: c["command"] for c in commands if "railyard_objects.dir" in c["command"]}
        self.sanitized = preset == "tsan"

    @staticmethod
    def run(command, **options):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
        if done.returncode != 0:
            sys.exit(f"{shlex.join(command)} failed:\n{done.stdout[-4000:]}")
        return done.stdout

    def link_command(self, program, objects, output):
        command = self.run(["ninja", "-C", str(self.directory), "-t", "commands", program]).rstrip().split("\n")[-1]
        command = command.removeprefix(": && ").removesuffix(" && :")
        words = shlex.split(command)
        place = words.index("-o")
        words[place + 1] = str(output)
        # Before the archive: its own copies of these objects are then not needed.
        return words[:place] + [str(o) for o in objects] + words[place:]

    def object_command(self, source, overlay, output):
        command = self.compile_commands.get(str(source))
        if command is None:
            raise Failure(f"{source} is not compiled into the library")
        words = [w for w in shlex.split(command) if w not in ("-Werror", "-MD")]
        for flag in ("-MT", "-MF"):
            if flag in words:
                del words[words.index(flag): words.index(flag) + 2]
        words[words.index("-o") + 1] = str(output)
        relative = source.relative_to(ROOT)
        mutated = overlay / relative
        words[words.index("-c") + 1] = str(mutated if mutated.exists() else source)
        # The copy of a header is found before the header.
        return words + ["-iquote", str(overlay / "src")] if mutated.exists() else (
            words[:1] + self.include_first(words[1:], overlay))

    @staticmethod
    def include_first(words, overlay):
        first = next(i for i, w in enumerate(words) if w.startswith("-I"))
        return words[:first] + [f"-I{overlay / 'src'}"] + words[first:]


def run_test(build, test, program, folder):
    """(caught, how, seconds)"""
    environment = dict(os.environ)
    environment.pop("RAILYARD_LOG", None)
    environment["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1"
    for word in shlex.split(test.get("environment", "")):
        key, value = word.split("=", 1)
        environment[key] = value
    command = [str(program), f"--gtest_filter={test.get('filter', '*')}", "--gtest_brief=1", "--gtest_fail_fast"]
    if build.sanitized and shutil.which("setarch"):
        # ThreadSanitizer of g++ 12 cannot start where the kernel randomises more than 28 bits of an address.
        command = ["setarch", "--addr-no-randomize"] + command
    start = time.monotonic()
    log = folder / "test.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            status = process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True, f"time limit of {TIME_LIMIT_S} s", time.monotonic() - start
    seconds = time.monotonic() - start
    output = log.read_text(encoding="utf-8", errors="replace")
    if re.search(r"^\[==========\] 0 tests", output, re.MULTILINE) or "Running 0 tests" in output:
        raise Failure(f"no test matches {test.get('filter')}")
    if status == 0:
        return False, "passed", seconds
    for pattern in (r"WARNING: ThreadSanitizer: ([^\n(]+)", r"\[  FAILED  \] ([^\s,]+)"):
        found = re.search(pattern, output)
        if found:
            return True, found.group(1).strip(), seconds
    return True, f"exit status {status}", seconds


def try_mutant(name, mutant, tests, builds):
    test = tests[mutant["test"]]
    build = builds[test["build"]]
    try:
        text = mutated_text(mutant)
        with tempfile.TemporaryDirectory(prefix="railyard-mutant-") as temporary:
            folder = pathlib.Path(temporary)
            overlay = folder / "tree"
            target = overlay / mutant["file"]
            target.parent.mkdir(parents=True)
            target.write_text(text, encoding="utf-8")
            sources = [ROOT / s for s in mutant.get("compile", mutant["file"]).split()]
            objects = []
            for source in sources:
                objects.append(folder / f"{len(objects)}-{source.name}.o")
                done = subprocess.run(build.object_command(source, overlay, objects[-1]), cwd=build.directory,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
                if done.returncode != 0:
                    raise Failure(f"does not compile:\n{done.stdout[-2000:]}")
            program = folder / "program"
            done = subprocess.run(build.link_command(test["program"], objects, program), cwd=build.directory,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise Failure(f"does not link:\n{done.stdout[-2000:]}")
            caught, how, seconds = run_test(build, test, program, folder)
    except Failure as failure:
        return name, False, f"NOT TRIED  {name}: {failure}"
    if caught:
        return name, True, f"caught     {name}, by {mutant['test']} ({how}, {seconds:.1f} s)"
    return name, False, f"SURVIVED   {name}: {mutant['why']}; {mutant['test']} passed in {seconds:.1f} s"


def check_baseline(names, tests, builds):
    """The tests must pass on the library as it is, or they prove nothing."""
    healthy = True
    for name in names:
        test = tests[name]
        build = builds[test["build"]]
        with tempfile.TemporaryDirectory(prefix="railyard-mutant-") as folder:
            failed, how, seconds = run_test(build, test, build.directory / test["program"], pathlib.Path(folder))
        print(f"{'FAILS' if failed else 'passes'}     {name} without a mutant ({how}, {seconds:.1f} s)", flush=True)
        healthy = healthy and not failed
    return healthy


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--all", action="store_true", help="every mutant")
    what.add_argument("--sample", type=int, metavar="N", help="N mutants at random")
    what.add_argument("--only", nargs="+", metavar="NAME", help="these")
    what.add_argument("--list", action="store_true", help="name the mutants and what each breaks")
    what.add_argument("--check", action="store_true", help="only whether every mutant still applies")
    parser.add_argument("--seed", type=int, help="of the sample (default: random; printed)")
    parser.add_argument("--release", default=ROOT / "build", help="build directory (default: build)")
    parser.add_argument("--tsan", default=ROOT / "build/tsan", help="ThreadSanitizer's (default: build/tsan)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    tests, mutants = read_table()
    if options.list:
        for name, mutant in mutants.items():
            print(f"{name:32} {mutant['why']} [{mutant['file']}; {mutant['test']}]")
        return 0
    if options.check:
        stale = 0
        for name, mutant in mutants.items():
            try:
                mutated_text(mutant)
            except Failure as failure:
                print(f"{name}: {failure}")
                stale += 1
        print(f"{len(mutants)} mutants: {stale} do not apply")
        return 1 if stale else 0
    chosen = list(mutants)
    if options.sample is not None:
        seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
        chosen = random.Random(seed).sample(chosen, min(options.sample, len(chosen)))
        print(f"{len(chosen)} of {len(mutants)} mutants, seed {seed}")
    elif options.only:
        unknown = set(options.only) - set(mutants)
        if unknown:
            parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
        chosen = options.only
    needed = sorted({mutants[name]["test"] for name in chosen})
    builds = {}
    for kind, directory in (("release", options.release), ("tsan", options.tsan)):
        programs = {tests[name]["program"] for name in needed if tests[name]["build"] == kind}
        if programs:
            builds[kind] = Build(directory, kind, programs, options.jobs)
    if not check_baseline(needed, tests, builds):
        print(f"{len(chosen)} mutants: none was tried, because a test fails without any")
        return 1
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in concurrent.futures.as_completed(
                [pool.submit(try_mutant, name, mutants[name], tests, builds) for name in chosen]):
            _, was_caught, line = future.result()
            caught += was_caught
            print(line, flush=True)
    print(f"{len(chosen)} mutants: {caught} caught, {len(chosen) - caught} not")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
