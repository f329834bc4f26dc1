#!/usr/bin/env python3
"""Medians over rounds, ratios to nginx of the same round, and what is added to the relay: markdown."""
import json
import sys
from collections import defaultdict
from statistics import median

BASE, FLOOR = "nginx", "relay"

rows = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
results, order = defaultdict(lambda: defaultdict(list)), []
for row in rows:
    results[row["step"]][row["name"]].append(row)
    if row["name"] not in order:
        order.append(row["name"])


def value(row, path):
    for part in path.split("."):
        row = row[part]
    return row


def middle(step, name, path):
    values = [value(row, path) for row in results[step].get(name, [])]
    return median(values) if values else None


def over_rounds(step, name, base, path, combine):
    """The median of `combine(value, base's value in the same round)`."""
    of_base = {row["round"]: value(row, path) for row in results[step].get(base, [])}
    pairs = [(value(row, path), of_base.get(row["round"])) for row in results[step][name]]
    values = [combine(own, other) for own, other in pairs if other]
    return median(values) if values else None


def cell(step, name, path, kind):
    if kind == "ratio":
        ratio = over_rounds(step, name, BASE, path, lambda own, other: own / other)
        return "" if ratio is None else f"{ratio:.2f}"
    if kind == "added":
        added = over_rounds(step, name, FLOOR, path, lambda own, other: own - other)
        return "" if added is None else f"{added:+.0f}"
    if kind == "range":
        values = [value(row, path) for row in results[step][name]]
        return f"{min(values):.1f}–{max(values):.1f}"
    middle_value = middle(step, name, path)
    return middle_value if kind == "text" else format(middle_value, kind)


def table(step, title, columns):
    if step not in results:
        return
    print(f"\n### {title}\n\n| gateway | " + " | ".join(head for head, _, _ in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in order:
        if name in results[step]:
            cells = [cell(step, name, path, kind) for _, path, kind in columns]
            print(f"| {name} | " + " | ".join(cells) + " |")


BAD = ("bad", "bad", ".0f")
CPU = ("CPU µs/request", "cpu_us_per_req", ".1f")
CPU_RATIO = (f"CPU/{BASE}", "cpu_us_per_req", "ratio")
RSS = ("RSS MiB", "rss_mib", ".1f")


def latency(path="lat_us", name=""):
    return [
        (f"{name}p50 µs", f"{path}.p50", ",.0f"),
        ("+p50", f"{path}.p50", "added"),
        (f"{name}p99 µs", f"{path}.p99", ",.0f"),
        ("+p99", f"{path}.p99", "added"),
    ]


table("closed", "64 connections, flat out (`closed`)", [
    ("requests/s", "rps", ",.0f"), CPU, ("range", "cpu_us_per_req", "range"), CPU_RATIO, ("cores", "cores", ".2f"),
    ("p50 µs", "lat_us.p50", ",.0f"), ("p99 µs", "lat_us.p99", ",.0f"), RSS, BAD])
table("rate", "open loop (`rate`)", [("requests/s", "rps", ",.0f"), *latency(), CPU, CPU_RATIO, BAD])
table("wait50", "256 connections, upstream takes 50 ms (`wait50`)",
      [("requests/s", "rps", ",.0f"), *latency(), CPU, CPU_RATIO, RSS, BAD])
STREAMS = [
    ("chunks", "chunks", ",.0f"), *latency(name="first byte "), *latency("transit_us", "transit "),
    ("CPU s/1M chunks", "cpu_s_per_mchunk", ".1f"), (f"CPU/{BASE}", "cpu_s_per_mchunk", "ratio"), RSS, BAD]
table("sse", "streams of 50 chunks, 20 ms apart (`sse`)", STREAMS)
table("streams2000", "2,000 concurrent streams, every byte proved (`streams2000`)",
      [*STREAMS, ("right checksums", "sums", ",.0f")])
table("conns", "10,000 idle connections (`conns`)",
      [("connections", "conns", ",.0f"), ("KiB each", "kib_per_conn", ".2f"), RSS, BAD])
table("idle", "after a warm-up (`idle`)", [("start ms", "up_ms", ".0f"), RSS, ("PSS MiB", "pss_mib", ".1f")])
for step, title in [
        ("tls_h1", "TLS 1.3, HTTP/1.1, 32 connections (`tls`)"),
        ("tls_h2", "TLS 1.3, HTTP/2, 4 connections of 16 streams (`tls`)"),
        ("tls_new", "a full handshake and one request (`tls`)")]:
    table(step, title, [("requests/s", "rps", ",.0f"), CPU, ("range", "cpu_us_per_req", "range"), CPU_RATIO, BAD])
if "syscalls" in results:
    print("\n### system calls a request (`syscalls`)\n\n| gateway | all | which |\n|---|---|---|")
    for name in order:
        for row in results["syscalls"].get(name, [])[:1]:
            print(f"| {name} | {row['calls_per_req']:.2f} | {row['calls']} |")
