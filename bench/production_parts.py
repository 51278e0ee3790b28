"""Uploads in parts through a node of the production profile, beside the multipart upload of the store's driver."""

import os
import subprocess
import sys
from pathlib import Path

from bench.nginx import Nginx
from bench.parts import AT_ONCE, gib, send_in_parts, wait_for_digest
from bench.plan import MIB, Bench, WrongAnswer, discard
from bench.production import DIRECT, Production, production
from bench.report import Goal, Row
from tests.support.seaweedfs import REGION

NAME = "parts"
DRIVER = """
import sys, time
from pathlib import Path
import obstore
from obstore.store import S3Store
endpoint, bucket, region, key, secret, name, chunk, at_once, source = sys.argv[1:]
store = S3Store(bucket, endpoint=endpoint, region=region, access_key_id=key, secret_access_key=secret,
                virtual_hosted_style_request=False, client_options={"allow_http": True})
started = time.perf_counter()
obstore.put(store, name, Path(source), use_multipart=True, chunk_size=int(chunk), max_concurrency=int(at_once))
print(time.perf_counter() - started, obstore.head(store, name)["size"])
obstore.delete(store, name)
"""
"""A process of its own, as curl is. The seconds are those of the upload alone."""


def measure_parts(bench: Bench, _: Nginx | None) -> list[Row]:
    """Through a node and straight to the same store, in turns. The first round is a warm-up."""
    size = bench.plan.parts * bench.plan.part_bytes
    part, whole = bench.random_file(bench.plan.part_bytes), bench.random_file(size)
    sent, completed, driver = [], [], []
    with production(bench) as servers, servers.node(servers.installation()) as node:
        for _round in range(bench.plan.parts_rounds + 1):
            os.sync()
            seconds, complete_seconds, file_id = send_in_parts(node, part, bench.plan.parts)
            sent.append(seconds)
            completed.append(complete_seconds)
            wait_for_digest(node, file_id)
            discard(node, file_id)
            os.sync()
            driver.append(_put(servers, whole, bench.plan.part_bytes))
    whole.unlink()
    title = f"production: {gib(size)} in parts of {bench.plan.part_bytes // MIB} MiB"
    ours, reference = sent[1:], driver[1:]
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    return [
        Row(
            measure=f"{title}, {AT_ONCE} at once",
            unit="s",
            ours=ours,
            against="obstore, multipart",
            reference=reference,
            goal=Goal(1.25, of="ratio"),
            note=f"the ratios of the single rounds are {min(ratios):.2f} to {max(ratios):.2f}",
        ),
        Row(measure=f"production: {gib(size)} in parts: complete", unit="s", ours=completed[1:], goal=Goal(2)),
    ]


def _put(servers: Production, source: Path, part_bytes: int) -> float:
    weed = servers.weed
    access = [weed.credentials.access_key_id, weed.credentials.secret_access_key]
    where = [weed.endpoint, weed.bucket, REGION, *access, f"{DIRECT}/{NAME}"]
    command = [sys.executable, "-c", DRIVER, *where, str(part_bytes), str(AT_ONCE), str(source)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise WrongAnswer(f"obstore ended with {ran.returncode}: {ran.stderr[-500:]}")
    seconds, stored = ran.stdout.split()
    if int(stored) != source.stat().st_size:
        raise WrongAnswer(f"{stored} of {source.stat().st_size} bytes were stored")
    return float(seconds)
