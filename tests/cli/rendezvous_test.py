#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`railyard rendezvous` as its users start it, and the ranks of an example that meet there.

usage: rendezvous_test.py RAILYARD LAUNCH_SH PROGRAM_OF_RANKS
"""
import os
import pathlib
import re
import socket
import subprocess
import sys
import unittest

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
LAUNCH = pathlib.Path(sys.argv.pop(1)).resolve()
PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
SECONDS = 100


def environment(**variables):
    return {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")} | variables


class Rendezvous(unittest.TestCase):
    def listen(self, *arguments, **variables):
        """A rendezvous at a free port, and the port."""
        process = subprocess.Popen([RAILYARD, "rendezvous", "--address", "127.0.0.1", "--port", "0", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment(**variables))
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        line = process.stdout.readline()
        found = re.fullmatch(r"rendezvous of \d+ ranks at port (\d+)\n", line)
        self.assertTrue(found, line)
        return process, found.group(1)

    def launch(self, ranks, port, **variables):
        done = subprocess.run([LAUNCH, str(ranks), PROGRAM], capture_output=True, text=True, check=False, timeout=SECONDS,
                              env=environment(RAILYARD_RENDEZVOUS=f"127.0.0.1:{port}", **variables))
        return done.returncode, done.stdout + done.stderr

    def expect_world(self, ranks, port):
        status, output = self.launch(ranks, port, RAILYARD_SECRET="ours")
        self.assertEqual(status, 0, output)
        self.assertEqual(output.count(f" of {ranks}: "), ranks, output)

    def test_one_world_meets_and_it_ends(self):
        process, port = self.listen("--ranks", "3", "--once", RAILYARD_SECRET="ours")
        self.expect_world(3, port)
        _, log = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0, log)
        self.assertIn("all 3 ranks have met", log)
        for rank in range(3):
            self.assertIn(f"rank {rank} has left", log)
        self.assertIn("the world has ended", log)

    def test_one_world_after_another(self):
        process, port = self.listen("--ranks", "2", RAILYARD_SECRET="ours", RAILYARD_LOG="off")
        for _ in range(3):
            self.expect_world(2, port)
        self.assertIsNone(process.poll())
        process.terminate()
        self.assertEqual(process.communicate(timeout=SECONDS)[1], "")

    def test_strangers_are_refused_and_named(self):
        process, port = self.listen("--ranks", "2", RAILYARD_SECRET="ours")
        status, output = self.launch(2, port, RAILYARD_SECRET="theirs")
        self.assertEqual(status, 1, output)
        self.assertIn("RY-CONFIG-MISMATCH", output)
        self.assertIn("does not know this job's secret", output)
        status, output = self.launch(3, port, RAILYARD_SECRET="ours")
        self.assertEqual(status, 1, output)
        self.assertIn("is of a world of 3 ranks, the rendezvous of one of 2", output)
        self.expect_world(2, port)
        process.terminate()
        self.assertIn("refused: rank", process.communicate(timeout=SECONDS)[1])

    def test_it_lives_on_where_nobody_reads_it(self):
        process, port = self.listen("--ranks", "2", RAILYARD_SECRET="ours")
        process.stderr.close()
        self.expect_world(2, port)
        process.stderr = None
        process, port = self.listen("--ranks", "2", RAILYARD_SECRET="ours")  # its log fills the pipe
        for _ in range(700):
            with socket.create_connection(("127.0.0.1", int(port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                stranger.recv(1000)
        self.expect_world(2, port)

    def test_it_needs_no_standard_streams(self):
        with socket.socket() as reservation:
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.bind(("127.0.0.1", 0))
            port = str(reservation.getsockname()[1])
            for closed in ("<&- >&- 2>&-", "2>&-", ">&-"):
                with self.subTest(closed=closed):
                    process = subprocess.Popen(
                        ["bash", "-c", f'exec "$0" "$@" {closed}', RAILYARD, "rendezvous", "--ranks", "3", "--address",
                         "127.0.0.1", "--port", port, "--once"], env=environment(RAILYARD_SECRET="ours"),
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    self.addCleanup(process.kill)
                    self.expect_world(3, port)
                    self.assertEqual(process.wait(timeout=SECONDS), 0)

    def test_too_few_descriptors_are_refused(self):
        done = subprocess.run(["bash", "-c", 'ulimit -n 100; exec "$0" "$@"', RAILYARD, "rendezvous", "--ranks", "24",
                               "--port", "0"], capture_output=True, text=True, check=False, timeout=SECONDS,
                              env=environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("100 files may be open, and 24 ranks need 324", done.stderr)

    def test_what_cannot_be_is_said(self):
        for arguments, status, text in ((["--port", "0"], 2, "--ranks is required"),
                                        (["--ranks", "0"], 2, "--ranks"),
                                        (["--ranks", "2", "--port", "70000"], 2, "--port: Value 70000 not in range 0 to 65535"),
                                        (["--ranks", "2", "--address", "no.such.host.invalid"], 1, "cannot listen at")):
            with self.subTest(arguments=arguments):
                done = subprocess.run([RAILYARD, "rendezvous", *arguments], capture_output=True, text=True, check=False,
                                      timeout=SECONDS, env=environment())
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(text, done.stderr)
        done = subprocess.run([RAILYARD, "rendezvous", "--ranks", "2", "--port", "0", "--once"], capture_output=True, text=True,
                              check=False, timeout=SECONDS, env=environment(RAILYARD_SECRET="s" * 257))
        self.assertEqual((done.returncode, done.stderr), (1, "RY-ENVIRONMENT: RAILYARD_SECRET has 257 bytes; at most 256\n"))
        _, port = self.listen("--ranks", "2")
        done = subprocess.run([RAILYARD, "rendezvous", "--ranks", "2", "--address", "127.0.0.1", "--port", port],
                              capture_output=True, text=True, check=False, timeout=SECONDS, env=environment())
        self.assertEqual((done.returncode, "RY-INVALID-ARGUMENT: cannot listen at" in done.stderr), (1, True), done.stderr)
        status, output = self.launch(2, "0")
        self.assertEqual(status, 1, output)
        self.assertIn('RAILYARD_RENDEZVOUS="127.0.0.1:0" cannot be read', output)


if __name__ == "__main__":
    unittest.main()
