"""The input file of a batch, however it is made."""

import json
import time
import tracemalloc

from gateway.outside.documents import MAX_JSON_BYTES
from gateway.runs.batches.lines import MAX_LINES, read_lines

URL = "/v1/images/generations"


def line(id: str) -> bytes:
    body = {"prompt": "a"}
    return json.dumps({"custom_id": id, "method": "POST", "url": URL, "body": body}).encode()


def test_faults_name_their_line_whatever_ends_it() -> None:
    data = b"\xef\xbb\xbf" + line("a") + b"\r\n\n \n" + b"{\n" + line("a")
    lines, faults = read_lines(data, URL)
    assert [each.id for each in lines] == ["a"]
    assert [(fault.code, fault.line) for fault in faults] == [
        ("invalid_json_line", 4),
        ("duplicate_custom_id", 5),
    ]


def test_a_file_of_nothing_but_line_ends_takes_no_memory() -> None:
    data = b"\n" * 5_000_000
    tracemalloc.start()
    began = time.process_time()
    lines, faults = read_lines(data, URL)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    assert time.process_time() - began < 5
    tracemalloc.stop()
    assert (lines, [fault.code for fault in faults]) == ([], ["empty_file"])


def test_a_file_that_would_be_large_in_memory_is_not_decoded() -> None:
    data = line("a").replace(b'"a"}', b'[' + b"[]," * 6_000_000 + b"[]]}")
    lines, faults = read_lines(data, URL)
    assert (lines, [fault.code for fault in faults]) == ([], ["file_too_large"])


def test_lines_beyond_the_most_are_not_read() -> None:
    data = b"\n".join(line(str(number)) for number in range(MAX_LINES + 2)) + b"\n{"
    _, faults = read_lines(data, URL)
    assert [fault.code for fault in faults] == ["too_many_tasks"]


def test_a_line_is_no_larger_than_a_request() -> None:
    body = b'{"custom_id":"a","method":"POST","url":"/v1/images/generations","body":{"x":"%s"}}'
    small, large = (body % (b"a" * size) for size in (10, MAX_JSON_BYTES))
    many = body.replace(b'"%s"', b"[" + b"1e308," * 100_000 + b"1]")
    lines, faults = read_lines(b"\n".join([large, small, b"", many]), URL)
    assert len(lines) == 1
    assert [(fault.code, fault.line) for fault in faults] == [
        ("invalid_json_line", 1), ("invalid_json_line", 4),
    ]
