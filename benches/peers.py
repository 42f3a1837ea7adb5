"""The times of pyroute2's RemoteIPRoute over ssh, in seconds, as JSON. Run by benches/peers."""

import json
import os
import socket
import sys
import time

from pyroute2 import RemoteIPRoute

HOST, PORT, USER, CONFIG, REQUESTS, DUMPS = sys.argv[1:]


def timed(something):
    began = time.perf_counter()
    result = something()
    return time.perf_counter() - began, result


connecting, remote = timed(
    lambda: RemoteIPRoute(
        protocol='ssh',
        hostname=HOST,
        port=int(PORT),
        username=USER,
        python_path=sys.executable,
        check_host_keys='enforce',
        ssh_args=['-F', CONFIG],
    )
)
links = [timed(lambda: remote.get_links(1))[0] for _ in range(int(REQUESTS))]
dumps = []
for _ in range(int(DUMPS)):
    took, routes = timed(lambda: list(remote.get_routes(family=socket.AF_INET)))
    assert len(routes) >= 100_000, len(routes)
    dumps.append(took)
json.dump({'connect': [connecting], 'rtt': links, 'dump-parsed': dumps}, sys.stdout)
sys.stdout.flush()
# Its close() does not always come back.
os._exit(0)
