#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes where /dev/shm has 64 MB, what containers have by default, or takes nothing at all.

usage: shared_memory_test.py RAILYARD LAUNCH_SH PROGRAM_OF_RANKS
"""
import os
import pathlib
import subprocess
import sys
import unittest

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
LAUNCH = pathlib.Path(sys.argv.pop(1)).resolve()
PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
SECONDS = 100
MOUNT = 'mount -t tmpfs -o "$0" none /dev/shm && exec "$@"'
SIZES = {"64 MB": "size=64m", "none": "size=4k,ro"}


def run_with(options, *command):
    """The command where /dev/shm is a tmpfs with these options, which nobody else sees."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
    return subprocess.run(["unshare", "-m", "sh", "-c", MOUNT, options, *command], capture_output=True, text=True,
                          check=False, timeout=SECONDS, env=variables)


class SharedMemory(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can mount another /dev/shm")
        tried = run_with("size=64m", "true")
        if tried.returncode != 0:
            self.skipTest(f"no other /dev/shm can be mounted here: {tried.stderr.strip()}")

    def expect_ok(self, options, *command):
        done = run_with(options, *command)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_mount_limits_what_is_written_there(self):
        for size, options in SIZES.items():
            with self.subTest(size=size):
                done = run_with(options, "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=65")
                self.assertNotEqual(done.returncode, 0)

    def test_an_example_runs(self):
        for size, options in SIZES.items():
            with self.subTest(size=size):
                output = self.expect_ok(options, LAUNCH, "4", PROGRAM)
                self.assertEqual(output.count(" of 4: 10"), 4, output)

    def test_heaps_may_be_larger(self):
        """Each of four ranks receives some 1900 rows of 14 KiB: 107 MB in all."""
        for size, options in SIZES.items():
            with self.subTest(size=size):
                self.expect_ok(options, RAILYARD, "bench", "throughput", "--launch", "processes", "--ranks", "4", "--tokens",
                               "512", "--warmup", "1", "--iterations", "1")


if __name__ == "__main__":
    unittest.main()
