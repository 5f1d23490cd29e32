"""A bucket that speaks S3, on a port of this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

NAME = "pictures"
START_SECONDS = 60


@dataclass(frozen=True)
class Bucket:
    """Where it is, as the gateway's setting and its library's environment say it."""

    url: str
    environment: Mapping[str, str]


@contextmanager
def bucket() -> Iterator[Bucket]:
    """An empty one for as long as the block lasts."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        httpx.put(f"{endpoint}/{NAME}", timeout=START_SECONDS).raise_for_status()
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        yield Bucket(f"s3://{NAME}", environment)
    finally:
        server.stop()
