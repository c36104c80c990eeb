#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`railyard doctor` as its users start it: on this machine, and with something made wrong.

usage: doctor_test.py RAILYARD REPOSITORY FULL_OR_SHORT [TEST...]

SHORT is for builds with a sanitizer, which needs descriptors of its own.
"""
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import unittest

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
REPOSITORY = pathlib.Path(sys.argv.pop(1)).resolve()
SHORT = {"full": False, "short": True}[sys.argv.pop(1)]
sys.path.insert(0, str(REPOSITORY / "tools"))
import validate_json  # noqa: E402

SCHEMA = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text(encoding="utf-8"))
PREFIXES = ("RAILYARD_", "OMPI_", "SLURM_", "MASTER_")
LAUNCHER = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
CHECKS = ["build", "cpu", "memory", "memory_limits", "memory_bandwidth", "shared_memory", "memfd", "open_files", "variables",
          "launcher", "rendezvous"]  # then those of the GPUs


def doctor(*arguments, limit=None, limited=resource.RLIMIT_NOFILE, **variables):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(PREFIXES) and name not in LAUNCHER}

    def set_limit():
        if limit is not None:
            resource.setrlimit(limited, (limit, limit))

    return subprocess.run([RAILYARD, "doctor", *arguments], capture_output=True, check=False, preexec_fn=set_limit, timeout=60,
                          env=environment | variables, encoding="utf-8", errors="replace")


class Doctor(unittest.TestCase):
    def findings(self, *arguments, **settings):
        """By check, each a list."""
        done = doctor("--json", "-", *arguments, **settings)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual(validate_json.faults_of(SCHEMA, document), [])
        result = {}
        for finding in document["findings"]:
            self.assertEqual([value for value in finding["numbers"].values() if not validate_json.is_number(value)], [])
            self.assertIn(finding["found"], done.stderr)
            result.setdefault(finding["check"], []).append(finding)
        problems = [finding for finding in document["findings"] if finding["state"] == "problem"]
        self.assertEqual(done.returncode, 1 if problems else 0, problems)
        self.assertEqual(list(result)[:len(CHECKS)], CHECKS)
        self.assertGreater(len(result), len(CHECKS))
        return result

    def expect_problem(self, finding, *words):
        self.assertEqual(finding["state"], "problem", finding)
        for word in words:
            self.assertIn(word, finding["found"])

    def test_this_machine(self):
        findings = self.findings()
        for check in ["build", "memfd", "variables", "rendezvous"]:
            self.assertEqual([finding["state"] for finding in findings[check]], ["ok"], findings[check])
        self.assertGreaterEqual(findings["cpu"][0]["numbers"]["cores"], 1)
        self.assertGreater(findings["memory"][0]["numbers"]["total_bytes"], 0)
        self.assertEqual(findings["launcher"][0]["state"], "note")
        bandwidth = findings["memory_bandwidth"][0]
        self.assertIn(bandwidth["state"], ("ok", "not_checked"))  # the latter with little memory
        if bandwidth["state"] == "ok":
            self.assertGreater(bandwidth["numbers"]["gbps"], 0)

    def test_quick_measures_nothing(self):
        self.assertEqual(self.findings("--quick")["memory_bandwidth"][0]["state"], "not_checked")

    def test_the_text_has_every_finding_and_its_remedy(self):
        done = doctor("--quick")
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        for check in CHECKS:
            self.assertEqual(sum(line.split()[1:2] == [check] for line in lines), 1, done.stdout)
        for index, line in enumerate(lines[:-2]):
            if line.split()[0] in ("note", "problem", "not_checked"):
                self.assertEqual(lines[index + 1].split()[0], "->", done.stdout)
        self.assertRegex(lines[-1], r"^ok: \d+, notes: \d+, problems: \d+, not checked: \d+$")

    def test_each_variable_that_cannot_be_read_is_one_problem(self):
        findings = self.findings(RAILYARD_TIMEOUT_S="abc", RAILYARD_LOG="\udcff", RAILYARD_TIMEOUT="1")
        log, timeout, unread = findings["variables"]
        self.expect_problem(timeout, 'RAILYARD_TIMEOUT_S="abc"', "seconds above 0")
        self.expect_problem(log, "RAILYARD_LOG", "warn")
        self.assertEqual(unread["state"], "note")
        self.assertIn("RAILYARD_TIMEOUT is set", unread["found"])
        self.assertEqual(findings["memory_bandwidth"][0]["state"], "not_checked")  # it needs a world

    def test_too_few_descriptors(self):
        self.expect_problem(self.findings("--quick", limit=20)["open_files"][0], "20 files", "opens up to 40")

    def test_files_that_are_too_small(self):
        memfd = self.findings("--quick", limit=102400, limited=resource.RLIMIT_FSIZE)["memfd"][0]
        self.expect_problem(memfd, "102400 bytes (ulimit -f)", "1048576")
        self.assertIn("ulimit -f unlimited", memfd["remedy"])
        self.assertEqual(memfd["numbers"], {"limit": 102400, "bytes": 1048576})

    @unittest.skipIf(SHORT, "the sanitizer has too few descriptors, too")
    def test_far_too_few_descriptors(self):
        findings = self.findings("--quick", limit=10)
        for check in ["memfd", "open_files", "rendezvous"]:
            self.expect_problem(findings[check][0])
            self.assertIn("ulimit -n", findings[check][0]["remedy"])

    def test_launchers(self):
        complete = {"RANK": "3", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "MASTER_ADDR": "node-7", "MASTER_PORT": "29500"}
        launcher = self.findings("--quick", **complete)["launcher"][0]
        self.assertEqual(launcher["state"], "ok")
        self.assertEqual(launcher["numbers"], {"rank": 3, "size": 16, "local_rank": 3, "port": 29501})
        elsewhere = self.findings("--quick", **complete, RAILYARD_RENDEZVOUS="node-1:700")["launcher"][0]
        self.assertEqual((elsewhere["state"], elsewhere["numbers"]["port"]), ("ok", 700))
        self.assertIn("the rendezvous at node-1 port 700", elsewhere["found"])
        for missing in ["WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"]:
            incomplete = {name: value for name, value in complete.items() if name != missing}
            self.expect_problem(self.findings("--quick", **incomplete)["launcher"][0], "torchrun", f"{missing} is not set")
        self.expect_problem(self.findings("--quick", SLURM_PROCID="0", SLURM_NTASKS="x")["launcher"][0], "Slurm",
                            'SLURM_NTASKS="x"')

    def test_rendezvous_at_an_address(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            occupied = self.findings("--quick", "--rendezvous", f"127.0.0.1:{port}")["rendezvous"][0]
            expected = self.findings("--quick", "--rendezvous", f"127.0.0.1:{port}",
                                     RAILYARD_RENDEZVOUS=f"127.0.0.1:{port}")["rendezvous"][0]
        self.expect_problem(occupied, "cannot listen at 127.0.0.1", str(port), "something answers there")
        self.assertIn("another port", occupied["remedy"])
        self.assertEqual(expected["state"], "ok", expected)
        self.assertIn("RAILYARD_RENDEZVOUS", expected["found"])
        free = self.findings("--quick", "--rendezvous", f"localhost:{port}")["rendezvous"][0]
        self.assertEqual(free["state"], "ok", free)
        self.assertEqual(free["numbers"], {"port": port})
        unknown = self.findings("--quick", "--rendezvous", f"no-such-host.invalid:{port}")["rendezvous"][0]
        self.expect_problem(unknown, "no-such-host.invalid")

    def test_usage_errors(self):
        for rendezvous in ["node-7", ":29501", "node-7:", "node-7:0", "node-7:65536", "node-7:29501x", ""]:
            done = doctor("--rendezvous", rendezvous)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f"--rendezvous is '{rendezvous}'", done.stderr)
        self.assertEqual(doctor("--no-such-option").returncode, 2)

    def test_help_and_a_file_that_cannot_be_written(self):
        help_text = doctor("--help").stdout
        for word in ["--json", "--rendezvous", "--quick", "Examples:", "Exit status"]:
            self.assertIn(word, help_text)
        done = doctor("--json", "/no/such/folder/file")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/no/such/folder/file", done.stderr)


if __name__ == "__main__":
    unittest.main()
