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
import tempfile
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
        complete = {"RANK": "3", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
        launcher = self.findings("--quick", **complete)["launcher"][0]
        self.assertEqual(launcher["state"], "ok")
        self.assertEqual(launcher["numbers"], {"rank": 3, "size": 16, "local_rank": 3, "port": 29501})
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            elsewhere = self.findings("--quick", **complete, RAILYARD_RENDEZVOUS=f"127.0.0.1:{port}")["launcher"][0]
        self.assertEqual((elsewhere["state"], elsewhere["numbers"]["port"]), ("ok", port))
        self.assertIn(f"the rendezvous at 127.0.0.1 port {port}", elsewhere["found"])
        too_large = self.findings("--quick", **complete | {"WORLD_SIZE": "5000"})["launcher"][0]
        self.expect_problem(too_large, 'WORLD_SIZE="5000"', "1 to 4096")
        nowhere = self.findings("--quick", **complete | {"MASTER_ADDR": "no-such-host.invalid"})["launcher"][0]
        self.expect_problem(nowhere, 'MASTER_ADDR="no-such-host.invalid" has no address')
        for missing in ["WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"]:
            incomplete = {name: value for name, value in complete.items() if name != missing}
            self.expect_problem(self.findings("--quick", **incomplete)["launcher"][0], "torchrun", f"{missing} is not set")
        self.expect_problem(self.findings("--quick", SLURM_PROCID="0", SLURM_NTASKS="x")["launcher"][0], "Slurm",
                            'SLURM_NTASKS="x"')

    def test_the_ranks_of_a_job_that_meets_elsewhere_are_counted(self):
        job = {f"OMPI_COMM_WORLD_{name}": value for name, value in [("RANK", "0"), ("SIZE", "64"), ("LOCAL_RANK", "0")]}
        with socket.create_server(("127.0.0.1", 0)) as server:
            findings = self.findings("--quick", **job, RAILYARD_RENDEZVOUS=f"127.0.0.1:{server.getsockname()[1]}")
        self.assertEqual(findings["launcher"][0]["state"], "ok", findings["launcher"])
        self.assertEqual(findings["open_files"][0]["numbers"]["ranks"], 64)

    def test_a_trace_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            def variables(file, *arguments, **more):
                return self.findings(*arguments, RAILYARD_TRACE=str(file), **more)["variables"]
            for file in [f"{folder}/no/trace.json", folder, f"{folder}/"]:
                with self.subTest(file=file):
                    finding, = variables(file, "--quick")
                    self.expect_problem(finding, f'RY-ENVIRONMENT: RAILYARD_TRACE="{file}"', "cannot be written: ")
            self.assertEqual(variables(trace)[0]["state"], "ok")  # with worlds that would write it
            self.assertEqual(os.listdir(folder), [])
            trace.write_text("of another world")
            self.assertEqual(variables(trace)[0]["state"], "ok")
            self.assertEqual(trace.read_text(), "of another world")
            os.mkfifo(f"{folder}/3.json")
            rank = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
            self.expect_problem(variables(f"{folder}/{{rank}}.json", "--quick", **rank)[0], f'"{folder}/3.json" cannot be written')
            self.assertIn("a file name", variables("", "--quick")[0]["found"])

    def test_a_rendezvous_where_nobody_listens(self):
        with socket.socket() as reservation:
            reservation.bind(("127.0.0.1", 0))
            port = reservation.getsockname()[1]
            for asked in [[], ["--rendezvous", f"localhost:{port}"]]:
                finding = self.findings("--quick", *asked, RAILYARD_RENDEZVOUS=f"127.0.0.1:{port}")["rendezvous"][-1]
                self.expect_problem(finding, f"nobody answers at 127.0.0.1 port {port}", "RAILYARD_RENDEZVOUS")
                self.assertIn("railyard rendezvous", finding["remedy"])
        finding = self.findings("--quick", RAILYARD_RENDEZVOUS="no-such-host.invalid:700")["rendezvous"][-1]
        self.expect_problem(finding, "nobody answers at no-such-host.invalid port 700")

    def test_rendezvous_at_an_address(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            occupied = self.findings("--quick", "--rendezvous", f"127.0.0.1:{port}")["rendezvous"][0]
            expected = [self.findings("--quick", *asked, RAILYARD_RENDEZVOUS=f"127.0.0.1:{port}")["rendezvous"]
                        for asked in [["--rendezvous", f"127.0.0.1:{port}"], ["--rendezvous", f"localhost:{port}"], []]]
        self.expect_problem(occupied, "cannot listen at 127.0.0.1", str(port), "something answers there")
        self.assertIn("another port", occupied["remedy"])
        self.assertEqual([len(findings) for findings in expected], [1, 1, 2])  # the last: on loopback, too
        for findings in expected:
            self.assertEqual(findings[-1]["state"], "ok", findings)
            self.assertIn("RAILYARD_RENDEZVOUS", findings[-1]["found"])
        free = self.findings("--quick", "--rendezvous", f"localhost:{port}")["rendezvous"][0]
        self.assertEqual(free["state"], "ok", free)
        self.assertEqual(free["numbers"], {"port": port})
        unknown = self.findings("--quick", "--rendezvous", f"no-such-host.invalid:{port}")["rendezvous"][0]
        self.expect_problem(unknown, "no-such-host.invalid")

    def test_the_manual_shows_what_is_printed(self):
        manual = (REPOSITORY / "docs/doctor.md").read_text(encoding="utf-8")
        sample = [line[4:].split() for line in manual.splitlines() if line.startswith("    ") and "railyard doctor" not in line]
        states = [words[0] for words in sample if words and words[0] in ("ok", "note", "problem", "not_checked")]
        self.assertEqual([words[1] for words in sample if words and words[0] in states][:len(CHECKS)], CHECKS)
        total = "ok: {}, notes: {}, problems: {}, not checked: {}".format(
            *(states.count(state) for state in ("ok", "note", "problem", "not_checked")))
        self.assertEqual(" ".join(sample[-1]), total)

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
