#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`railyard inspect` as its users start it.

usage: inspect_program_test.py RAILYARD REPOSITORY
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

RAILYARD = pathlib.Path(sys.argv.pop(1)).resolve()
REPOSITORY = pathlib.Path(sys.argv.pop(1)).resolve()
sys.path.insert(0, str(REPOSITORY / "tools"))
import validate_json  # noqa: E402

SCHEMA = json.loads((REPOSITORY / "docs/inspect.schema.json").read_text(encoding="utf-8"))


def inspect(*arguments, text=True):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAILYARD_")}
    return subprocess.run([RAILYARD, "inspect", *arguments], capture_output=True, text=text, check=False, env=environment)


class Inspect(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def file(self, content, name="ids.txt"):
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def document(self, *arguments):
        done = inspect("--json", "-", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual(validate_json.faults_of(SCHEMA, document), [])
        summary = document["summary"]
        for key, column in [("tokens", "tokens"), ("entries", "entries"), ("rows", "rows")]:
            self.assertEqual(summary[key], sum(rank[column] for rank in document["ranks"]))
        self.assertEqual(summary["rows"], sum(map(sum, document["rows_by_source_and_destination"])))
        self.assertEqual(summary["entries"], sum(document["entries_by_expert"]))
        for direction in ["in", "out"]:
            self.assertEqual(summary["link_bytes"], sum(rank["bytes_" + direction] for rank in document["ranks"]))
        return document

    def expect_error(self, status, arguments, *words):
        done = inspect(*arguments)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("RY-INVALID-ARGUMENT: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_file_counted_by_hand(self):
        # Five tokens: rank 0 of 2 has the first two, rank 1 the other three; experts 0 and 1 are rank 0's.
        path = self.file(b"0 1\n2,3\n0 2\n3 -1\n-1, -1")
        document = self.document("--ids", path, "--experts", "4", "--ranks", "2", "--domain-size", "1",
                                 "--hidden", "8", "--alignment", "4")
        self.assertEqual([rank["tokens"] for rank in document["ranks"]], [2, 3])
        self.assertEqual(document["rows_by_source_and_destination"], [[1, 1], [1, 2]])
        self.assertEqual(document["entries_by_expert"], [2, 1, 2, 2])
        self.assertEqual(document["row_bytes"], 16)
        self.assertEqual(document["config"]["top_k"], 2)
        summary = document["summary"]
        self.assertEqual((summary["entries"], summary["none_ids"], summary["rows"], summary["saved_rows"]), (7, 3, 5, 2))
        self.assertEqual((summary["link_bytes"], summary["link_bytes_per_entry"]), (32, 48))
        self.assertEqual(summary["between_domains"], {"entries": 3, "rows_per_rank": 2, "rows_per_domain": 2,
                                                      "bytes_per_rank": 32, "bytes_per_domain": 32})
        self.assertEqual(summary["busiest_link"], {"rank": 0, "direction": "in", "bytes": 16})
        self.assertEqual([rank["rows_with_padding"] for rank in document["ranks"]], [8, 8])
        self.assertEqual(document["ranks"][0]["least_loaded_expert"], {"expert": 1, "entries": 1})

    def test_npy_and_text_say_the_same(self):
        ids = [[0, 1, 2], [5, -1, 3], [7, 7, 6]]
        text = "\n".join(" ".join(map(str, row)) for row in ids).encode()
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (3, 3), }\n"
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack("<9q", *sum(ids, []))
        documents = [self.document("--ids", path, "--experts", "8", "--ranks", "4")
                     for path in [self.file(text), self.file(npy, "ids.npy")]]
        for document in documents:
            document["config"].pop("ids")
        self.assertEqual(*documents)

    def test_generated_routings(self):
        for routing in [["uniform"], ["zipf", "--skew", "1.5"], ["group-limited"]]:
            arguments = ["--routing", *routing, "--tokens", "50", "--experts", "32", "--top-k", "4", "--ranks", "4",
                         "--domain-size", "2", "--codec", "fp8_e4m3", "--hidden", "256"]
            document = self.document(*arguments)
            self.assertEqual((document["summary"]["tokens"], document["summary"]["entries"]), (200, 800))
            self.assertEqual(document["row_bytes"], 256 + 2 * 4)
            between = document["summary"]["between_domains"]
            self.assertLess(between["rows_per_domain"], between["rows_per_rank"])
            self.assertEqual(document, self.document(*arguments))

    def test_more_ranks_than_tokens_and_experts(self):
        document = self.document("--ids", self.file(b"0\n1\n"), "--experts", "2", "--ranks", "5")
        self.assertEqual([rank["tokens"] for rank in document["ranks"]], [0, 0, 1, 0, 1])
        self.assertIsNone(document["ranks"][4]["most_loaded_expert"])

    def test_nothing_to_send(self):
        summary = self.document("--ids", self.file(b"-1\n"), "--experts", "2", "--ranks", "2")["summary"]
        self.assertEqual(set(summary["imbalance"].values()), {None})
        self.assertIsNone(summary["busiest_link"])

    def test_text_json_and_a_drawing(self):
        json_path, svg_path = self.directory / "out.json", self.directory / "out.svg"
        done = inspect("--tokens", "20", "--ranks", "4", "--domain-size", "2", "--json", str(json_path), "--svg", str(svg_path))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ["rank   tokens", "uniform, seed 1", "between domains", "max over mean", "busiest link"]:
            self.assertIn(word, done.stdout)
        self.assertEqual(validate_json.faults_of(SCHEMA, json.loads(json_path.read_text(encoding="utf-8"))), [])
        root = xml.etree.ElementTree.fromstring(svg_path.read_text(encoding="utf-8"))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for text in ["source rank", "destination rank", "rows (rank_major), and their bytes", "3"]:
            self.assertIn(text, texts)

    def test_a_name_that_is_no_utf8_is_drawn(self):
        path, svg_path = os.path.join(os.fsencode(self.directory), b"a\xff<\x01\xc3\xa4\xed\xa0\x80.txt"), self.directory / "out.svg"
        pathlib.Path(os.fsdecode(path)).write_bytes(b"0 1\n")
        done = inspect("--ids", path, "--experts", "2", "--ranks", "2", "--svg", str(svg_path), text=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        title = xml.etree.ElementTree.fromstring(svg_path.read_text(encoding="utf-8")).find("{http://www.w3.org/2000/svg}title")
        self.assertIn("a\ufffd<\ufffd\u00e4\ufffd\ufffd\ufffd.txt", title.text)

    def test_usage_errors(self):
        path = self.file(b"0 1\n")
        self.expect_error(2, ["--ids", path], "--ids", "--experts")
        self.expect_error(2, ["--ids", path, "--experts", "2", "--tokens", "5"], "--ids", "--tokens")
        self.expect_error(2, ["--ids", "/no/such/file", "--experts", "2"], "/no/such/file")
        self.expect_error(2, ["--ids", "/dev/null", "--experts", "2"], "/dev/null", "no regular file")
        self.expect_error(2, ["--ranks", "6", "--domain-size", "4"], "--domain-size is 4", "6 ranks")
        self.expect_error(2, ["--hidden", "12"], "--hidden is 12", "8")
        self.expect_error(2, ["--skew", "1"], "--skew is 1", "uniform")
        self.expect_error(2, ["--routing", "zipf", "--skew", "nan"], "--skew: Value nan", "0 to 10")
        self.expect_error(2, ["--experts", "4"], "--top-k is 8", "4 experts")
        self.expect_error(2, ["--codec", "fp7"], "--codec is 'fp7'")
        self.expect_error(2, ["--ranks", "257", "--svg", "x.svg"], "257", "256")
        self.expect_error(2, ["--ranks", "1025"], "--ranks")
        self.expect_error(2, ["--svg", "-"], "--svg")

    def test_failures_have_status_1(self):
        bad = self.file(b"0 1\n2 64\n")
        self.expect_error(1, ["--ids", bad, "--experts", "64"], bad, "line 2 (token 1): id 1 is 64", "-1 to 63")
        empty = self.file(b"")
        self.expect_error(1, ["--ids", empty, "--experts", "64"], empty, "empty")
        self.expect_error(1, ["--json", "/no/such/folder/file"], "--json", "/no/such/folder/file")
        self.expect_error(1, ["--svg", "/no/such/folder/file"], "--svg", "/no/such/folder/file")


if __name__ == "__main__":
    unittest.main()
