#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/check_gpus.sh and scripts/measure_gpus.sh on a machine of stand-ins: that every step is run where it should
be, and that none fails unnoticed.

usage: gpu_scripts_test.py SCRIPTS_DIRECTORY
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(sys.argv.pop(1)).resolve()
PROGRAMS = ["device_throughput_test", "property_test", "multi_rank_test", "recovery_test", "cuda_test",
            "cuda_recovery_test", "cuda_times_test", "cuda_chaos_test", "fabric_handles_test", "04_gpus", "railyard"]
# Says how it was started.
STAND_IN = '#!/bin/sh\necho "$0 $*, GPUs ${CUDA_VISIBLE_DEVICES-all}, backend ${RAILYARD_TEST_BACKEND-none}"\n'


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class GpuScripts(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.programs = self.root / "programs"
        for name in PROGRAMS + ["delays/device_throughput_test", "delays/property_test"]:
            write_program(self.programs / name, STAND_IN)
        write_program(self.root / "tools/compute-sanitizer", STAND_IN)
        write_program(self.root / "tools/python3", STAND_IN)  # of the step `program`
        self.set_gpus(2)

    def set_gpus(self, count):
        lines = "".join(f"GPU {index}: a stand-in\\n" for index in range(count))
        write_program(self.root / "tools/nvidia-smi", f"#!/bin/sh\nprintf '{lines}'\n")

    def run_script(self, script, *options, visible=""):
        environment = os.environ | {"PATH": f"{self.root / 'tools'}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": visible}
        if not visible:
            del environment["CUDA_VISIBLE_DEVICES"]
        done = subprocess.run([SCRIPTS / script, *options, self.root / "logs", self.programs], capture_output=True,
                              text=True, check=False, env=environment)
        return done.returncode, done.stdout + done.stderr

    def log(self, step):
        return (self.root / "logs" / f"{step}.txt").read_text(encoding="utf-8")

    def test_every_step_runs_on_the_gpus_it_is_for(self):
        status, output = self.run_script("check_gpus.sh")
        self.assertEqual(status, 0, output)
        self.assertIn("0 of 32 steps failed", output)
        for step in ("kernels", "operations", "property", "recovery", "program", "fabric", "property-delayed",
                     "memcheck", "initcheck", "example", "memcheck-recovery"):
            self.assertRegex(self.log(step), "GPUs [01],", step)
        for step in ("kernels-2", "property-all", "property-processes", "gpu-processes", "example-all", "faults"):
            self.assertIn("GPUs all,", self.log(step), step)
        self.assertIn("backend cuda-threads", self.log("property-all"))
        self.assertIn("backend cuda-processes", self.log("property-processes"))
        self.assertIn("--tool synccheck", self.log("synccheck"))
        self.assertRegex(self.log("memcheck-recovery"), r"cuda_recovery_test --gtest_filter=\S*OutputsAreKept")
        self.assertIn("backend cuda-threads", self.log("memcheck-recovery"))
        self.assertIn("delays/property_test", self.log("property-delayed"))

    def test_one_gpu_leaves_out_what_takes_two(self):
        self.set_gpus(1)
        status, output = self.run_script("check_gpus.sh", "--faults", "0")
        self.assertEqual(status, 0, output)
        self.assertIn("0 of 18 steps failed", output)
        self.assertNotIn("property-all", output)

    def test_the_example_is_left_out_where_it_is_not(self):
        (self.programs / "04_gpus").unlink()
        status, output = self.run_script("check_gpus.sh", "--steps", "^times$|^example$")
        self.assertEqual(status, 0, output)
        self.assertIn("0 of 1 steps failed", output)
        self.assertIn("04_gpus is not there", output)

    def test_the_gpus_may_be_chosen(self):
        self.set_gpus(8)
        status, output = self.run_script("check_gpus.sh", "--quick", visible="5,7")
        self.assertEqual(status, 0, output)
        self.assertRegex(self.log("kernels"), "GPUs [57],")
        self.assertIn("GPUs 5,7,", self.log("kernels-2"))
        status, output = self.run_script("measure_gpus.sh", "--no-tests", visible="5,6,7")
        self.assertEqual(status, 0, output)
        self.assertIn("--ranks 3", self.log("bf16"))

    def test_steps_may_be_chosen(self):
        status, output = self.run_script("check_gpus.sh", "--steps", "property-all$|^times|^fabric$")
        self.assertEqual(status, 0, output)
        self.assertIn("0 of 5 steps failed", output)
        status, output = self.run_script("check_gpus.sh", "--steps", "nothing")
        self.assertEqual(status, 1, output)
        self.assertIn("0 of 0 steps failed", output)

    def test_what_fails_is_named(self):
        for said, why in (("exit 3", "3"), ("echo '[==========] Running 0 tests from 0 suites.'", "no test has")):
            with self.subTest(said=said):
                write_program(self.programs / "cuda_times_test", f"#!/bin/sh\n{said}\n")
                for script in ("check_gpus.sh", "measure_gpus.sh"):
                    status, output = self.run_script(script, "--quick")
                    self.assertEqual(status, 1, output)
                    self.assertRegex(output, rf"times +\d+ s  failed \({why}")

    def test_what_is_measured(self):
        status, output = self.run_script("measure_gpus.sh", "--no-tests")
        self.assertEqual(status, 0, output)
        self.assertNotIn("faults", output)
        for step in ("link", "bf16", "fp8", "zipf", "statistics"):
            self.assertIn(f" {step if step == 'link' else 'throughput'} --device cuda", self.log(step))
        self.assertIn("--ranks 2", self.log("bf16"))
        with_statistics = self.log("bf16-statistics").split(" --iterations")[1]
        self.assertIn("--sms 16 --wait-statistics", with_statistics)

    def test_what_cannot_run_is_refused(self):
        (self.programs / "cuda_test").unlink()
        for script in ("check_gpus.sh", "measure_gpus.sh"):
            status, output = self.run_script(script)
            self.assertEqual((status, "cuda_test is not there" in output), (2, True), output)
            status, output = self.run_script(script, "--fast")
            self.assertEqual((status, "unknown option '--fast'" in output), (2, True), output)
        write_program(self.programs / "cuda_test", STAND_IN)
        self.set_gpus(0)
        status, output = self.run_script("check_gpus.sh")
        self.assertEqual((status, "this takes 1 GPUs or more; this machine shows 0" in output), (2, True), output)
        status, output = self.run_script("check_gpus.sh", "--faults", "many")
        self.assertEqual((status, "--faults is 'many'" in output), (2, True), output)


if __name__ == "__main__":
    unittest.main()
