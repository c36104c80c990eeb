#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program `railyard` as its users start it.

usage: program_test.py RAILYARD REPOSITORY FULL_OR_SHORT [SUITE...]

SHORT is for builds with a sanitizer: the same tests with less to compute in each.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
MPI_PEER = RAILYARD.parent / "railyard_mpi_peer"
REPOSITORY = pathlib.Path(sys.argv.pop(1)).resolve()
SHORT = {"full": False, "short": True}[sys.argv.pop(1)]
sys.path.insert(0, str(REPOSITORY / "tools"))
import validate_json  # noqa: E402

SCHEMA = json.loads((REPOSITORY / "docs/bench.schema.json").read_text(encoding="utf-8"))
SMALL = ["--hidden", "256", "--experts", "16", "--top-k", "4", "--iterations", "5", "--warmup", "1"]
SMALL_DEMO = ["--tokens", "24", "--steps", "2", "--hidden", "64", "--intermediate", "32", "--experts", "16", "--top-k", "4"]


def railyard(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
    environment.update(variables)
    return subprocess.run([RAILYARD, *arguments], capture_output=True, text=True, check=False, env=environment)


class Program(unittest.TestCase):
    def expect_usage_error(self, arguments, *words, code="RY-INVALID-ARGUMENT"):
        done = railyard(*arguments)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith(code + ": "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_version(self):
        done = railyard("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^railyard \d+\.\d+\.\d+ \(commit \S+\)\n")
        for word in ["g++" if "g++" in done.stdout else "clang", "fp8_e4m3_ue8m0", "expert_slots", "low_latency", "host"]:
            self.assertIn(word, done.stdout)

    def test_help_names_every_subcommand_and_gives_examples(self):
        done = railyard("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ["demo", "bench", "inspect", "doctor", "rendezvous", "Examples:", "Exit status", "RAILYARD_TIMEOUT_S"]:
            self.assertIn(word, done.stdout)

    def test_bench_has_exactly_the_options_of_its_interface(self):
        wanted = {"--help", "--ranks", "--launch", "--device", "--devices", "--tokens", "--hidden", "--experts", "--top-k", "--layout",
                  "--codec", "--routing", "--skew", "--sms", "--seed", "--warmup", "--iterations", "--beside", "--wait-statistics", "--reuse-buffers", "--peers", "--explain",
                  "--json", "--plot"}
        for subject in ["throughput", "low-latency", "link"]:
            done = railyard("bench", subject, "--help")
            options = {word for line in done.stdout.splitlines() if line.startswith("  -")
                       for word in line.split()[0].split(",") if word.startswith("--")}
            self.assertEqual(options, wanted)

    def test_usage_errors(self):
        self.expect_usage_error([])
        self.expect_usage_error(["bench"])
        self.expect_usage_error(["demo", "--no-such-option"], "--no-such-option", "railyard demo --help")
        self.expect_usage_error(["demo", "--ranks", "0"], "--ranks", "0")
        self.expect_usage_error(["demo", "--text", "/no/such/file"], "/no/such/file")
        self.expect_usage_error(["demo", "--codec", "fp7"], "--codec is 'fp7'", "fp8_e4m3")
        self.expect_usage_error(["demo", "--top-k", "9", "--experts", "8"], "--top-k is 9", "8 experts")
        self.expect_usage_error(["demo", "--hidden", "36"], "--hidden is 36", "8")
        self.expect_usage_error(["demo", "--layout", "rank_major", "--levels", "none"], "--levels is none")
        self.expect_usage_error(["bench", "throughput", "--layout", "row_major"], "--layout is 'row_major'", "rank_major")
        self.expect_usage_error(["bench", "throughput", "--skew", "1"], "--skew is 1", "uniform")
        self.expect_usage_error(["bench", "throughput", "--iterations", "0"], "--iterations")
        for skew in ["nan", "-nan", "inf", "-1", "10.5", "x"]:
            self.expect_usage_error(["bench", "throughput", "--routing", "zipf", f"--skew={skew}"], f"--skew: Value {skew}", "0 to 10")
        for seed in ["-1", "18446744073709551616", "x", "1.5"]:
            for command in [["demo"], ["bench", "link"], ["inspect"]]:
                self.expect_usage_error([*command, f"--seed={seed}"], f"--seed: Value {seed}", "0 to 18446744073709551615")
        for warmup in ["-1", "99999999999"]:
            self.expect_usage_error(["bench", "link", f"--warmup={warmup}"], f"--warmup: Value {warmup}", "0 to 1000000")
            self.expect_usage_error(["demo", f"--steps={warmup}"], f"--steps: Value {warmup}", "0 to 2147483647")
        self.expect_usage_error(["bench", "throughput", "--routing", "group-limited", "--experts", "12"], "12", "multiple of 8")

    def test_what_is_not_in_this_build_is_named(self):
        code = "RY-UNSUPPORTED"
        self.expect_usage_error(["bench", "low-latency", "--device", "cuda"], "--device cuda", "host", code=code)
        self.expect_usage_error(["bench", "throughput", "--peers", "mpi"], "--peers mpi", "--launch is threads",
                                code="RY-INVALID-ARGUMENT")
        self.expect_usage_error(["bench", "throughput", "--launch", "processes", "--peers", "mpi", "--layout", "expert_major"],
                                "--peers mpi", "--layout is expert_major", code="RY-INVALID-ARGUMENT")
        self.expect_usage_error(["bench", "throughput", "--peers", "nccl"], "nccl", "--device host", "memcpy", code=code)
        self.expect_usage_error(["bench", "throughput", "--peers", "memcpy,deep_ep"], "deep_ep", "memcpy", code=code)
        self.expect_usage_error(["bench", "throughput", "--beside", "gemm"], "--beside gemm", "--device cuda", code=code)
        self.expect_usage_error(["bench", "throughput", "--wait-statistics"], "--wait-statistics", "--device cuda", code=code)
        self.expect_usage_error(["bench", "link", "--reuse-buffers"], "--reuse-buffers", "link", code=code)
        self.expect_usage_error(["bench", "link", "--sms", "16"], "--sms is 16", "cuda", code=code)
        self.expect_usage_error(["bench", "throughput", "--devices", "1"], "--devices is 1", "cuda")

    def test_a_failure_has_status_1_and_a_code(self):
        done = railyard("demo", *SMALL_DEMO, "--json", "/no/such/folder/file")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("RY-"), done.stderr)
        self.assertIn("/no/such/folder/file", done.stderr)

    def test_output_that_is_lost_has_status_1(self):
        for arguments in [["inspect"], ["inspect", "--ranks", "512"], ["inspect", "--json", "-"], ["doctor", "--quick"],
                          ["demo", *SMALL_DEMO], ["bench", "link", *SMALL], ["--help"], ["--version"]]:
            with self.subTest(arguments=arguments), open("/dev/full", "wb") as full:
                environment = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
                done = subprocess.run([RAILYARD, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                      env=environment)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr.splitlines()[-1], "^RY-INVALID-ARGUMENT: .* cannot be written: ")

    @unittest.skipIf(SHORT, "a sanitizer takes more address space than any limit")
    def test_too_little_memory_is_said(self):
        # The counts do not fit; then they do, and the JSON does not, whose destructor takes memory too.
        large = ["inspect", "--experts", "1048576", "--ranks", "1024", "--tokens", "1", "--top-k", "32"]
        for kilobytes, arguments in [(40000, large), (100000, [*large, "--json", "-"]), (110000, [*large, "--json", "-"])]:
            with self.subTest(kilobytes=kilobytes):
                def limit():
                    resource.setrlimit(resource.RLIMIT_AS, (kilobytes * 1024, kilobytes * 1024))
                done = subprocess.run([RAILYARD, *arguments], capture_output=True, text=True, check=False, preexec_fn=limit)
                self.assertIn(done.returncode, (0, 1), done.stderr)
                if done.returncode == 1:
                    self.assertTrue(done.stderr.splitlines()[-1].startswith("RY-OUT-OF-MEMORY: "), done.stderr)


class Demo(unittest.TestCase):
    def expect_verified(self, *arguments):
        done = railyard("demo", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout + done.stderr)
        self.assertRegex(done.stdout.splitlines()[-1], r"^verified: yes, ")
        return done.stdout

    def test_the_default(self):
        output = self.expect_verified(*(SMALL_DEMO if SHORT else []))
        for word in ["rank  tokens", "bytes over links", "saves", "time, slowest rank", "within the bound"]:
            self.assertIn(word, output)

    def test_layouts_codecs_and_modes(self):
        for layout in ["rank_major", "expert_major", "expert_slots"]:
            for codec, mode in [("fp8_e4m3", "throughput"), ("fp8_e4m3_ue8m0", "low_latency"), ("fp16", "throughput"),
                                ("fp32", "low_latency")]:
                with self.subTest(layout=layout, codec=codec, mode=mode):
                    output = self.expect_verified("--ranks", "3", "--layout", layout, "--codec", codec, "--mode", mode,
                                                  *SMALL_DEMO)
                    self.assertIn("within the bound" if layout == "rank_major" else "bit for bit", output)

    def test_partial_sums_stay_within_their_bound(self):
        output = self.expect_verified("--ranks", "4", "--layout", "expert_major", "--levels", "rank", *SMALL_DEMO)
        self.assertRegex(output, r"largest error 0\.\d\d of it")

    def test_more_ranks_than_tokens_in_the_last_step(self):
        with tempfile.NamedTemporaryFile() as text:
            text.write(b"nine toke")
            text.flush()
            output = self.expect_verified("--ranks", "7", "--text", text.name, "--tokens", "1", "--hidden", "8",
                                          "--intermediate", "8", "--experts", "5", "--top-k", "3")
            self.assertIn("9 bytes", output)
            self.assertIn("2 steps", output)

    def test_a_flipped_byte_is_found(self):
        for layout in ["rank_major", "expert_major", "expert_slots"]:
            for seed in ["1", "2"]:
                with self.subTest(layout=layout, seed=seed):
                    done = railyard("demo", "--corrupt", "--layout", layout, "--seed", seed, *SMALL_DEMO)
                    self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                    last = done.stdout.splitlines()[-1]
                    self.assertRegex(last, r"^verified: no, received rows: 1 of \d+ wrong, first the payload of row \d+")
                    self.assertIn("output: 1 of", last)

    def test_json_has_standard_output_for_itself(self):
        done = railyard("demo", "--json", "-", *SMALL_DEMO)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        self.assertTrue(document["verified"])
        self.assertEqual(sum(document["tokens_by_rank"]), 2 * 8 * 24)
        self.assertEqual(sum(map(sum, document["entries_by_rank_and_expert"])), 4 * sum(document["tokens_by_rank"]))
        self.assertLess(document["dispatch_wire_bytes"], document["undeduplicated_bytes"])
        self.assertIn("verified: yes", done.stderr)

    def test_a_trace_has_every_rank_and_every_stage(self):
        with tempfile.TemporaryDirectory() as directory:
            name = os.path.join(directory, "trace of {pid}.json")
            done = railyard("demo", "--ranks", "3", *SMALL_DEMO, "--mode", "low_latency", RAILYARD_TRACE=name)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            (path,) = pathlib.Path(directory).iterdir()
            self.assertRegex(path.name, r"^trace of \d+\.json$")
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        named = {event["args"]["name"]: event["pid"] for event in events if event["name"] == "process_name"}
        self.assertEqual(named, {f"rank {rank}": rank for rank in range(3)})
        for rank in range(3):
            spans = [event for event in events if event["ph"] == "X" and event["pid"] == rank]
            self.assertEqual({event["cat"] for event in spans} - {"wait"},
                             {"send", "receive", "slot", "exchange", "write", "arrival", "place", "pull", "readers"})
            self.assertTrue(all(event["dur"] >= 0 and event["args"]["epoch"] >= 1 for event in spans))
            rows = {event["tid"] for event in events if event["name"] == "thread_name" and event["pid"] == rank}
            self.assertLessEqual({event["tid"] for event in spans}, rows)

    def test_a_trace_that_cannot_be_written_is_an_error(self):
        done = railyard("demo", *SMALL_DEMO, RAILYARD_TRACE="/no/such/folder/trace.json")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r'^RY-ENVIRONMENT: RAILYARD_TRACE="/no/such/folder/trace.json": .*\(errno 2\)\n$')


class Measuring(unittest.TestCase):
    def measure(self, subject, *arguments, tokens="16"):
        done = railyard("bench", subject, "--json", "-", "--tokens", tokens, *SMALL, *arguments)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual(validate_json.faults_of(SCHEMA, document), [])
        self.assertEqual(document["config"]["subject"], subject)
        for result in document["results"]:
            self.assertTrue(result["verified"], result)
            self.assertLessEqual(result["us_median"], result["us_p99"])
        self.assertIn("verified: yes", done.stderr)
        return document


class Bench(Measuring):
    def test_throughput(self):
        document = self.measure("throughput", "--ranks", "2", "--peers", "memcpy", tokens="8,32")
        rows = [(result["operation"], result["tokens"]) for result in document["results"]]
        self.assertEqual(rows, [("route", 8), ("dispatch", 8), ("combine", 8), ("route", 32), ("dispatch", 32), ("combine", 32)])
        self.assertEqual([peer["name"] for peer in document["peers"]], ["memcpy"] * 4)
        for result in document["results"]:
            if result["operation"] == "dispatch":
                self.assertEqual((result["codec"], result["quantise"], result["input_dtype"]), ("bf16", False, "bf16"))
                # Every remote row is one token's: at most all tokens, once.
                self.assertGreater(result["wire_bytes"], 0)
                self.assertLessEqual(result["wire_bytes"], result["tokens"] * 256 * 2)
                self.assertIsNotNone(result["limit_ratio"])

    def test_fp8_is_measured_with_and_without_quantising(self):
        for layout in ["rank_major", "expert_major", "expert_slots"]:
            for codec in ["fp8_e4m3"] if SHORT else ["fp8_e4m3", "fp8_e4m3_ue8m0"]:
                with self.subTest(layout=layout, codec=codec):
                    document = self.measure("throughput", "--layout", layout, "--codec", codec, "--ranks", "3")
                    dispatches = [(result["quantise"], result["input_dtype"]) for result in document["results"]
                                  if result["operation"] == "dispatch"]
                    self.assertEqual(dispatches, [(False, "fp8_e4m3"), (True, "bf16")])

    def test_low_latency(self):
        for layout in ["rank_major", "expert_major", "expert_slots"]:
            with self.subTest(layout=layout):
                document = self.measure("low-latency", "--layout", layout)
                self.assertEqual([result["operation"] for result in document["results"]], ["dispatch", "combine"])

    def test_routings(self):
        for routing in [["zipf", "--skew", "1.5"], ["group-limited"]]:
            document = self.measure("throughput", "--routing", *routing, "--ranks", "4")
            self.assertEqual(document["config"]["routing"], routing[0])

    def test_element_codecs(self):
        for codec in ["fp16", "fp32"]:
            document = self.measure("throughput", "--codec", codec)
            self.assertEqual({result["input_dtype"] for result in document["results"]}, {None, codec})

    def test_one_rank(self):
        document = self.measure("throughput", "--ranks", "1", "--explain")
        self.assertEqual({result["wire_bytes"] for result in document["results"]}, {0})
        self.assertIsNone(document["limits"]["flag_us"])

    def test_one_token_has_room_in_the_heap(self):
        for subject in ["throughput", "low-latency"]:
            for layout in ["rank_major", "expert_major", "expert_slots"]:
                with self.subTest(subject=subject, layout=layout):
                    self.measure(subject, "--layout", layout, "--ranks", "2", tokens="1")

    def test_explain_says_where_the_time_goes(self):
        done = railyard("bench", "throughput", "--explain", "--codec", "fp8_e4m3", "--tokens", "16", *SMALL)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ["over links", "limit: memcpy", "existing route", "route alone", "quantising", "padding"]:
            self.assertIn(word, done.stdout)
        self.assertEqual(done.stdout.splitlines()[-1], "verified: yes")

    def test_link(self):
        document = self.measure("link", "--ranks", "2")
        self.assertEqual([result["operation"] for result in document["results"]], ["memcpy", "flag", "encode", "encode"])
        self.assertGreater(document["limits"]["flag_us"], 0)
        self.assertGreater(document["limits"]["fp8_encode_gbps"], 0)

    def test_a_plot_of_the_sweep(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "sweep.svg")
            done = railyard("bench", "throughput", "--tokens", "4,8,16", *SMALL, "--plot", str(path))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            root = xml.etree.ElementTree.fromstring(path.read_text(encoding="utf-8"))
            texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
            for text in ["tokens per rank", "4", "8", "16", "dispatch bf16", "limit of dispatch bf16", "route"]:
                self.assertIn(text, texts)

    def test_json_to_a_file_leaves_standard_output_to_the_table(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "result.json")
            done = railyard("bench", "throughput", "--tokens", "16", *SMALL, "--json", str(path))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("dispatch", done.stdout)
            self.assertEqual(validate_json.faults_of(SCHEMA, json.loads(path.read_text(encoding="utf-8"))), [])


class Processes(Measuring):
    def test_every_layout_is_verified_and_timed(self):
        for subject, layout, codec in [("throughput", "rank_major", "bf16"), ("throughput", "expert_major", "fp8_e4m3"),
                                       ("low-latency", "expert_slots", "fp8_e4m3_ue8m0")]:
            with self.subTest(subject=subject, layout=layout, codec=codec):
                document = self.measure(subject, "--launch", "processes", "--ranks", "2", "--layout", layout, "--codec", codec,
                                        "--explain", "--peers", "memcpy", tokens="8,16")
                self.assertEqual({result["launch"] for result in document["results"]}, {"processes"})

    def test_a_failure_in_a_rank_has_status_1_and_its_message(self):
        done = railyard("bench", "throughput", "--launch", "processes", "--tokens", "200000", "--hidden", str(1 << 20),
                        "--experts", "2", "--top-k", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("RY-OUT-OF-MEMORY: 200000 tokens on 2 ranks need about", done.stderr)

    def test_a_rank_that_dies_ends_all(self):
        measuring = subprocess.Popen([RAILYARD, "bench", "throughput", "--launch", "processes", "--ranks", "3", "--tokens", "8",
                                      "--iterations", "1000000", "--hidden", "64"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        children = self.children_of(measuring.pid, 3)
        os.kill(children[1], signal.SIGKILL)
        _, messages = measuring.communicate(timeout=60)
        self.assertEqual(measuring.returncode, 1)
        self.assertIn("rank 1", messages)
        for child in children:
            self.assertFalse(pathlib.Path(f"/proc/{child}").exists())

    def require_peer(self):
        if shutil.which("mpirun") is None or not MPI_PEER.exists():
            print("skipped: the peer mpi (no mpirun, or railyard_mpi_peer was not built)", file=sys.stderr)
            self.skipTest("no peer mpi")

    def test_the_peer_mpi_is_verified_and_stands_beside(self):
        self.require_peer()
        document = self.measure("low-latency", "--launch", "processes", "--peers", "mpi", "--reuse-buffers", tokens="8")
        self.assertTrue(document["config"]["reuse_buffers"])
        peers = [(peer["name"], peer["operation"]) for peer in document["peers"]]
        self.assertEqual(peers, [("mpi", "dispatch"), ("mpi", "combine"), ("mpi in place", "combine")])
        for peer in document["peers"]:
            self.assertTrue(peer["verified"])
            self.assertGreater(peer["limit_ratio"], 0)

    def test_the_peer_mpi_moves_the_same_bytes(self):
        self.require_peer()
        for sets in [[], ["--reuse-buffers"]]:
            for tokens in ["13", "16"]:
                with self.subTest(sets=sets, tokens=tokens):
                    document = self.measure("throughput", "--launch", "processes", "--peers", "mpi", *sets, tokens=tokens)
                    ours = {result["operation"]: result["wire_bytes"] for result in document["results"]}
                    self.assertGreater(ours["dispatch"], 0)
                    for peer in document["peers"]:
                        self.assertEqual(peer["wire_bytes"], ours[peer["operation"]])

    def test_the_peer_mpi_gives_signs_of_life(self):
        self.require_peer()
        begin = time.monotonic()
        as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        done = subprocess.run(["mpirun", "--oversubscribe", *as_root, "-n", "2", MPI_PEER, "throughput", "--ranks", "2",
                               "--tokens", "64", "--warmup", "0", "--hidden", "7168", "--iterations", "2500"],
                              check=False, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        self.assertEqual(done.returncode, 0, done.stderr)
        *lines, answer = done.stdout.splitlines()
        self.assertEqual(set(lines), {""})
        self.assertGreaterEqual(len(lines), seconds // 2 - 1)
        self.assertEqual(len(json.loads(answer)["results"]), 3)

    def test_a_peer_mpi_that_fails_leaves_our_own_results(self):
        self.require_peer()
        for script, reason in [("exit 3", "RY-RANK-FAILED: the peer mpi ended with status 3"),
                               ("echo '{}'", "RY-RANK-FAILED: the peer mpi wrote JSON that cannot be used: "
                                             "key 'results' not found")]:
            with self.subTest(script=script), tempfile.TemporaryDirectory() as directory:
                mpirun = pathlib.Path(directory, "mpirun")
                mpirun.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
                mpirun.chmod(0o755)
                done = railyard("bench", "throughput", "--launch", "processes", "--peers", "mpi", "--tokens", "16", *SMALL,
                                PATH=f"{directory}:{os.environ['PATH']}")
                self.assertEqual((done.returncode, done.stderr), (1, reason + "\n"))
                for word in ["dispatch", "combine", "verified: yes"]:
                    self.assertIn(word, done.stdout)

    def test_the_peer_mpi_without_mpirun_is_status_1(self):
        done = subprocess.run([RAILYARD, "bench", "throughput", "--launch", "processes", "--peers", "mpi"], check=False,
                              capture_output=True, text=True, env={"PATH": "/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("RY-UNSUPPORTED: --peers mpi: ", done.stderr)

    @staticmethod
    def children_of(process, count):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            children = pathlib.Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
            if len(children) == count:
                return sorted(map(int, children))
            time.sleep(0.01)
        raise AssertionError("the processes did not start")


class Validator(unittest.TestCase):
    """The validator must find each kind of fault, in a document that is right otherwise."""

    @classmethod
    def setUpClass(cls):
        done = railyard("bench", "throughput", "--json", "-", "--peers", "memcpy", "--tokens", "16", *SMALL)
        cls.text = done.stdout

    def expect_fault(self, change, words):
        document = json.loads(self.text)
        change(document)
        faults = validate_json.faults_of(SCHEMA, document)
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(words, faults[0])

    def test_accepts(self):
        self.assertEqual(validate_json.faults_of(SCHEMA, json.loads(self.text)), [])

    def test_faults(self):
        self.expect_fault(lambda d: d.pop("limits"), "'limits' is missing")
        self.expect_fault(lambda d: d.update(extra=1), "'extra' is not allowed")
        self.expect_fault(lambda d: d.update(schema=2), "2 is not 1")
        self.expect_fault(lambda d: d["config"].update(ranks=0), "0 is below 1")
        self.expect_fault(lambda d: d["config"].update(top_k=33), "33 is above 32")
        self.expect_fault(lambda d: d["config"].update(tokens=[]), "0 items")
        self.expect_fault(lambda d: d["config"].update(layout="rows"), "is none of")
        self.expect_fault(lambda d: d["environment"].update(version="one"), "does not match")
        self.expect_fault(lambda d: d["environment"].update(compiler=""), "shorter than 1")
        self.expect_fault(lambda d: d["results"][0].update(verified=1), "not of type boolean")
        self.expect_fault(lambda d: d["results"][0].update(us_median=0), "not above 0")
        self.expect_fault(lambda d: d["results"][0].update(codec="fp7"), "none of anyOf")
        self.expect_fault(lambda d: d["results"][0].update(name="x"), "'name' is not allowed")
        self.expect_fault(lambda d: d["peers"][0].pop("name"), "'name' is missing")
        self.expect_fault(lambda d: d["peers"][0].update(other=1), "'other' is not allowed")

    def test_an_unknown_keyword_is_an_error(self):
        with self.assertRaises(validate_json.SchemaError):
            validate_json.faults_of({"oneOf": []}, {})
        with self.assertRaises(validate_json.SchemaError):
            validate_json.faults_of({"$ref": "#/$defs/none"}, {})


if __name__ == "__main__":
    unittest.main()
