#!/usr/bin/python3 -B
"""An agent of the SPIFFE Workload API, for tests: spiffe_agent.py SOCKET FILE

It says what FILE holds, byte for byte, to whoever calls FetchX509SVID, and again whenever another file takes its place; where there
is none, the caller is not entitled to anything. What it says is put together here by the standard's field numbers.
"""
import base64
import os
import pathlib
import re
import sys
import time
from concurrent import futures

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"


# --- messages

def _field(number, value):
    """A length-delimited field of a protocol buffer."""
    length, encoded = len(value), bytearray()
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *encoded, length]) + value


def der_of(path):
    """What all PEM blocks of a file hold, one after the other."""
    blocks = re.findall("-----BEGIN [^-]*-----([^-]*)-----END", pathlib.Path(path).read_text())
    return b"".join(base64.b64decode(block) for block in blocks)


def svid(spiffe_id, minted, bundle):
    """An X509SVID; `minted`: files of certificate and key, `bundle`: DER."""
    certificate, key = minted
    return raw_svid(spiffe_id, der_of(certificate), der_of(key), bundle)


def raw_svid(spiffe_id, chain, key, bundle):
    return b"".join(_field(n, v) for n, v in ((1, spiffe_id.encode()), (2, chain), (3, key), (4, bundle)) if v)


def response(svids, crls=(), federated=None):
    """An X509SVIDResponse; `federated`: DER by trust domain's ID."""
    entries = [_field(3, _field(1, name.encode()) + _field(2, bundle)) for name, bundle in (federated or {}).items()]
    return b"".join([_field(1, one) for one in svids] + [_field(2, crl) for crl in crls] + entries)


# --- the agent

def _identity_of(file):
    try:
        status = os.stat(file)
        return status.st_ino, status.st_mtime_ns
    except FileNotFoundError:
        return None


def serve(socket, file):
    import grpc  # here, since tests import this module for its messages in processes that fork

    def fetch(request, context):
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        said = ()
        while context.is_active():
            now = _identity_of(file)
            if now is None:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
            if now != said:
                said = now
                yield pathlib.Path(file).read_bytes()
            time.sleep(0.02)

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_stream_rpc_method_handler(fetch) if details.method == _METHOD else None

    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Handler()], options=[("grpc.max_send_message_length", -1)])
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    os.chmod(socket, 0o777)
    print("serving", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(*sys.argv[1:])
