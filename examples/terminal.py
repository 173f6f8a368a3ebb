#!/usr/bin/env python3
"""A Ringup terminal in Python: connects to the server by itself, takes what waits, hangs up. Written from docs/protocol.md.

    pip install h2
    openssl req -x509 -newkey ed25519 -nodes -subj /CN=meter -days 36500 -keyout meter.key -out meter.pem
    python3 terminal.py key meter.pem                              (its public key)

and at the server:

    ringup terminal add meter --address 10.77.0.9 --trust certificate     (prints its id)
    ringup terminal register meter --key KEY
    ringup server-key certificate > server.pem

    python3 terminal.py take HOST:PORT ID meter.key meter.pem server.pem inbox
"""
import base64, hashlib, os, re, socket, ssl, sys

import h2.config, h2.connection, h2.events

SPKI = bytes.fromhex("302a300506032b6570032100")  # before the 32 octets of an Ed25519 key (RFC 8410)


class Inbox:
    """A folder with a file for each message, named by its id."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.uploads = folder, {}

    def begin(self, stream, name, headers):
        part = open(os.path.join(self.folder, f".{name}.{stream}"), "wb")
        self.uploads[stream] = (name, headers, part, hashlib.sha256())

    def add(self, stream, data):
        if stream in self.uploads:
            self.uploads[stream][2].write(data)
            self.uploads[stream][3].update(data)

    def end(self, stream):
        """The status of the receipt: it follows the sync, of the file and of the folder."""
        name, headers, part, digest = self.uploads.pop(stream)
        told = headers.get("content-digest")
        is_whole = part.tell() == int(headers["content-length"])
        if not is_whole or told not in (None, f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"):
            part.close()
            os.remove(part.name)
            return 400
        part.flush()
        os.fsync(part.fileno())
        part.close()
        path = os.path.join(self.folder, name)
        is_new = not os.path.exists(path)
        os.rename(part.name, path)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return 201 if is_new else 200


def secure(stream, key, certificate, server):
    """The terminal is the TLS server. OpenSSL compares the certificate of the other end with the one in `server`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.num_tickets = 0  # each session is a whole handshake
    tls.set_alpn_protocols(["ringup/1"])
    tls.load_cert_chain(certificate, key)
    tls.load_verify_locations(server)
    return tls.wrap_socket(stream, server_side=True)


def answer(http, event, inbox):
    """Begins an upload, or answers: everything but PUT /m/ID is short."""
    headers = dict(event.headers)
    method, path = headers[":method"], headers[":path"]
    name = re.fullmatch("/m/([A-Za-z0-9_-]{22})", path)
    if method == "PUT" and name and headers.get("content-length", "").isdigit():
        return inbox.begin(event.stream_id, name[1], headers)
    # The server asks whether a message is here before its provider may cancel it.
    if method == "HEAD" and name and os.path.exists(os.path.join(inbox.folder, name[1])):
        return http.send_headers(event.stream_id, [(":status", "204"), ("upload-complete", "?1")], end_stream=True)
    # No parts are kept, no keys, no secret: nothing else is here, whatever is asked for.
    http.send_headers(event.stream_id, [(":status", "404")], end_stream=True)


def take(address, terminal, key, certificate, server, folder):
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=60)
    stream.sendall(f"ringup/1 {terminal} online\n".encode())  # the connected notice
    stream = secure(stream, key, certificate, server)
    inbox = Inbox(folder)
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    http.initiate_connection()
    stream.sendall(http.data_to_send())
    while data := stream.recv(65536):
        for event in http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                if dict(event.headers)[":path"] == "/nothing-more":
                    return stream.close()  # hanging up is the answer
                answer(http, event, inbox)
            elif isinstance(event, h2.events.DataReceived):
                inbox.add(event.stream_id, event.data)
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id in inbox.uploads:
                status = str(inbox.end(event.stream_id))
                http.send_headers(event.stream_id, [(":status", status)], end_stream=True)
        stream.sendall(http.data_to_send())


if __name__ == "__main__":
    if sys.argv[1:2] == ["key"] and len(sys.argv) == 3:
        der = ssl.PEM_cert_to_DER_cert(open(sys.argv[2]).read())
        at = der.index(SPKI) + len(SPKI)
        print(base64.urlsafe_b64encode(der[at : at + 32]).decode().rstrip("="))
    elif sys.argv[1:2] == ["take"] and len(sys.argv) == 8:
        take(*sys.argv[2:])
    else:
        sys.exit(__doc__)
