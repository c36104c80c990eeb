#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`railyard bench --device cuda`, and what `railyard doctor` says of GPUs, as their users start them, small, on one GPU
with virtual ranks.

usage: cuda_program_test.py RAILYARD REPOSITORY
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
REPOSITORY = pathlib.Path(sys.argv.pop(1)).resolve()
sys.path.insert(0, str(REPOSITORY / "tools"))
import validate_json  # noqa: E402

SCHEMA = json.loads((REPOSITORY / "docs/bench.schema.json").read_text(encoding="utf-8"))
SMALL = ["--hidden", "1024", "--experts", "16", "--top-k", "4", "--iterations", "4", "--warmup", "1"]


def bench(subject, *arguments, variables=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
    command = [RAILYARD, "bench", subject, "--device", "cuda", "--devices", "0", *SMALL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment | (variables or {}))


def doctor_findings(variables):
    """Of `railyard doctor`, by check."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
    done = subprocess.run([RAILYARD, "doctor", "--quick", "--json", "-"], capture_output=True, text=True, check=False,
                          env=environment | variables)
    document = json.loads(done.stdout)
    schema = json.loads((REPOSITORY / "docs/doctor.schema.json").read_text(encoding="utf-8"))
    if faults := validate_json.faults_of(schema, document):
        raise AssertionError(faults)
    return {finding["check"]: finding for finding in document["findings"]}


class Cuda(unittest.TestCase):
    def measure(self, subject, *arguments):
        done = bench(subject, "--json", "-", *arguments)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("verified: yes", done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual(validate_json.faults_of(SCHEMA, document), [])
        self.assertEqual(document["environment"]["device_kind"], "cuda")
        for result in document["results"]:
            self.assertTrue(result["verified"], result)
            self.assertLessEqual(result["us_median"], result["us_p99"])
        return document

    def test_throughput_with_two_virtual_ranks(self):
        document = self.measure("throughput", "--ranks", "2", "--tokens", "96", "--sms", "8")
        rows = [(result["operation"], result["timing"], result["sms"]) for result in document["results"]]
        self.assertEqual(rows, [(operation, timing, 8) for operation in ("dispatch", "routed_dispatch", "combine")
                                for timing in ("graph", "event")])
        for result in document["results"]:
            self.assertGreater(result["wire_bytes"], 0)
            self.assertLessEqual(result["wire_bytes"], 96 * 1024 * 2)
            self.assertIsNotNone(result["limit_ratio"])
        self.assertEqual([link["operation"] for link in document["limits"]["link"]], ["local_copy"])

    def test_fp8_is_measured_with_and_without_quantising(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "sweep.svg")
            document = self.measure("throughput", "--ranks", "2", "--tokens", "32", "--sms", "4,8", "--codec", "fp8_e4m3",
                                    "--plot", str(path))
            dispatches = [(result["quantise"], result["input_dtype"], result["sms"]) for result in document["results"]
                          if result["operation"] == "dispatch" and result["timing"] == "graph"]
            self.assertEqual(dispatches, [(False, "fp8_e4m3", 4), (False, "fp8_e4m3", 8), (True, "bf16", 4),
                                          (True, "bf16", 8)])
            texts = [element.text for element in xml.etree.ElementTree.parse(path).iter()]
            self.assertIn("SMs of an operation", texts)

    def test_operations_may_keep_wait_statistics(self):
        document = self.measure("throughput", "--ranks", "2", "--tokens", "32", "--sms", "8", "--wait-statistics")
        self.assertTrue(document["config"]["wait_statistics"])

    def test_link(self):
        document = self.measure("link", "--tokens", "512")
        self.assertEqual({result["operation"] for result in document["results"]}, {"local_copy", "flag"})
        self.assertGreater(document["limits"]["flag_us"], 0)

    def test_doctor_tries_fabric_handles_on_every_gpu(self):
        for asked in (None, "fd", "fabric"):
            with self.subTest(asked=asked):
                findings = doctor_findings({} if asked is None else {"RAILYARD_GPU_HANDLES": asked})
                gpus = [check.split(":")[1] for check in findings if check.startswith("cuda:")]
                self.assertTrue(gpus, findings)
                for gpu in gpus:
                    finding = findings[f"gpu_fabric:{gpu}"]
                    numbers = finding["numbers"]
                    self.assertEqual(numbers["device"], int(gpu))
                    if numbers["permitted"]:
                        self.assertEqual((finding["state"], numbers["supported"]), ("ok", 1))
                        continue
                    self.assertEqual(finding["state"], "problem" if asked == "fabric" else "note")
                    reason = "CUDA_ERROR_" if numbers["supported"] else "CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED"
                    self.assertIn(reason, finding["found"])
                    self.assertIn("RAILYARD_GPU_HANDLES=fd", finding["remedy"])

    def test_what_gpus_do_not_do_is_a_usage_error(self):
        for arguments in [["--layout", "expert_major"], ["--codec", "fp8_e4m3_ue8m0"],
                          ["--ranks", "2", "--peers", "nccl"], ["--ranks", "2", "--beside", "gemm"]]:
            with self.subTest(arguments=arguments):
                done = bench("throughput", "--tokens", "32", *arguments)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertTrue(done.stderr.startswith("RY-UNSUPPORTED: "), done.stderr)

    def test_too_few_device_connections_are_a_usage_error(self):
        for ranks, connections, parts in [("2", "8", ["2 ranks on device 0 with 8 device connections",
                                                      "CUDA_DEVICE_MAX_CONNECTIONS=32"]),
                                          ("33", "32", ["33 ranks on device 0", "at most 32"])]:
            with self.subTest(ranks=ranks, connections=connections):
                done = bench("throughput", "--ranks", ranks, "--tokens", "32",
                             variables={"CUDA_DEVICE_MAX_CONNECTIONS": connections})
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertTrue(done.stderr.startswith("RY-UNSUPPORTED: "), done.stderr)
                for part in parts:
                    self.assertIn(part, done.stderr)


if __name__ == "__main__":
    unittest.main()
