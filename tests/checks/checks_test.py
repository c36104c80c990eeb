#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each check of the tree must accept a good tree and name each fault of a bad one.

usage: checks_test.py TOOLS_DIRECTORY
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()


def run_check(name, files):
    """Runs tools/check_<name>.py over a tree of `files` (path -> text); returns (status, output)."""
    with tempfile.TemporaryDirectory() as directory:
        for path, text in files.items():
            target = pathlib.Path(directory, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, TOOLS / f"check_{name}.py", directory],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


class Layers(unittest.TestCase):
    def expect(self, path, line, fault):
        status, output = run_check("layers", {path: line + "\n"})
        if fault is None:
            self.assertEqual(status, 0, output)
        else:
            self.assertEqual(status, 1, output)
            self.assertIn(f"{path}:1: ", output)
            self.assertIn(fault, output)

    def test_allowed(self):
        self.expect("src/api/a.cpp", '#include "codecs/fp8.hpp"', None)
        self.expect("src/codecs/a.cpp", '#include "codecs/fp8.hpp"', None)
        self.expect("src/codecs/a.cpp", "#include <railyard/types.hpp>", None)
        self.expect("src/cli/a.cpp", '#include "reference/exchange.hpp"', None)
        self.expect("src/reference/a.cpp", "#include <railyard/types.hpp>", None)
        self.expect("src/reference/a.cpp", '#include "reference/route.hpp"', None)
        self.expect("src/diagnostics/log.cpp", "#include <spdlog/spdlog.h>", None)
        self.expect("src/device/wait.cuh", 'asm volatile("nanosleep.u32 20;");', None)
        self.expect("include/railyard/world.hpp", "#include <vector>", None)

    def test_upward(self):
        self.expect("src/codecs/a.cpp", '#include "routing/route.hpp"', "routing is not below codecs")
        self.expect("src/throughput/a.cpp", '#include "low_latency/a.hpp"', "low_latency is not below throughput")
        self.expect("src/api/a.cpp", '#include "cli/a.hpp"', "cli is not below api")

    def test_paths(self):
        self.expect("src/codecs/a.cpp", '#include "a.hpp"', 'write "codecs/a.hpp"')
        self.expect("src/codecs/a.cpp", '#include "codecs/../api/a.hpp"', "leaves its folder")
        self.expect("src/codecs/a.cpp", '#include "helpers/a.hpp"', "is in no layer")
        self.expect("src/helpers/a.cpp", "int x;", "src/helpers is in no layer")

    def test_reference(self):
        self.expect("src/reference/a.cpp", '#include "codecs/a.hpp"', "stands alone")
        self.expect("src/reference/a.cpp", "#include <railyard/exchange.hpp>", "stands alone")
        self.expect("src/reference/a.cpp", "#include <immintrin.h>", "only the standard library")
        self.expect("src/api/a.cpp", '#include "reference/a.hpp"', "only cli")

    def test_public_headers(self):
        self.expect("include/railyard/a.hpp", '#include "codecs/a.hpp"', "a public header includes")
        self.expect("include/railyard/a.hpp", "#include <fmt/format.h>", "a public header includes")

    def test_assembly_and_spdlog(self):
        self.expect("src/codecs/a.cpp", 'asm volatile("pause");', "inline assembly")
        self.expect("src/codecs/a.cpp", "#include <spdlog/spdlog.h>", "only src/diagnostics")


class Configuration(unittest.TestCase):
    DOCUMENT = "# Configuration\n\n## RAILYARD_LOG\n\ntext\n\n## Variables of other programs\n\n`WORLD_SIZE`\n"

    def run_with(self, source):
        return run_check("configuration", {"docs/configuration.md": self.DOCUMENT, "src/a.cpp": source})

    def test_agreement(self):
        status, output = self.run_with('read("RAILYARD_LOG"); std::getenv("WORLD_SIZE");')
        self.assertEqual(status, 0, output)

    def test_undocumented(self):
        for extra in ('read("RAILYARD_EXTRA");', 'getenv("EXTRA");'):
            status, output = self.run_with('read("RAILYARD_LOG"); getenv("WORLD_SIZE");' + extra)
            self.assertEqual(status, 1)
            self.assertIn("EXTRA is read but has no section", output)

    def test_unread(self):
        status, output = self.run_with('std::getenv("WORLD_SIZE");')
        self.assertEqual(status, 1)
        self.assertIn("RAILYARD_LOG is documented but nothing", output)


class ErrorCodes(unittest.TestCase):
    HEADER = "enum class ErrorCode : int {\n  ok,\n  timeout,  // RY-TIMEOUT  late\n  no_heap,  // RY-NO-HEAP  full\n};\n"
    SOURCE = 'return "RY-TIMEOUT"; return "RY-NO-HEAP";'
    PAGE = "# T\n\n## RY-TIMEOUT\n\nCause: a\n\nRemedy: b\n\n## RY-NO-HEAP\n\nCause: a\n\nRemedy: b\n"

    def run_with(self, header=HEADER, source=SOURCE, page=PAGE):
        return run_check("error_codes", {
            "include/railyard/error.hpp": header, "src/a.cpp": source, "docs/troubleshooting.md": page})

    def expect(self, fault, **files):
        status, output = self.run_with(**files)
        self.assertEqual(status, 1, output)
        self.assertIn(fault, output)

    def test_agreement(self):
        status, output = self.run_with()
        self.assertEqual(status, 0, output)

    def test_disagreements(self):
        self.expect("no section for RY-NO-HEAP", page=self.PAGE.split("## RY-NO-HEAP", maxsplit=1)[0])
        self.expect("RY-EXTRA is no code", page=self.PAGE + "\n## RY-EXTRA\n\nCause: a\n\nRemedy: b\n")
        self.expect("RY-TIMEOUT has no 'Remedy:'", page=self.PAGE.replace("Remedy: b", "", 1))
        self.expect("timeout is commented RY-LATE", header=self.HEADER.replace("RY-TIMEOUT", "RY-LATE"))
        self.expect("RY-LATE is no code", source=self.SOURCE + 'return "RY-LATE";')
        self.expect('no string "RY-NO-HEAP"', source='return "RY-TIMEOUT";')


if __name__ == "__main__":
    unittest.main()
