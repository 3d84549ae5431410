"""WebSocket frames (RFC 6455), for the server side in acs.py and for the simulated agent.

In: a connected socket after the handshake. Out: whole frames. A time-out leaves what was read so far for the next call.
"""

import base64
import hashlib
import os
import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def accept_key(key):
    """The server's answer to `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


class WebSocket:
    def __init__(self, connection, is_client, received=b""):
        self.connection, self.is_client, self.received = connection, is_client, received

    def send(self, kind, payload=b""):
        masked = 0x80 if self.is_client else 0
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | kind, masked | size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | kind, masked | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, masked | 127, size)
        if self.is_client:
            mask = os.urandom(4)
            payload = mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.connection.sendall(head + payload)

    def receive(self):
        """The next frame: kind and payload. EOFError at the end of the connection."""
        while (frame := self.whole_frame()) is None:
            data = self.connection.recv(65536)
            if not data:
                raise EOFError("the connection was closed")
            self.received += data
        return frame

    def whole_frame(self):
        data = self.received
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size > 125:
            length = 2 if size == 126 else 8
            if len(data) < at + length:
                return None
            size, at = int.from_bytes(data[at:at + length], "big"), at + length
        mask = data[at:at + 4] if data[1] & 0x80 else b""
        at += len(mask) if data[1] & 0x80 else 0
        if len(data) < at + size or (data[1] & 0x80 and len(mask) < 4):
            return None
        payload, self.received = data[at:at + size], data[at + size:]
        if mask:
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        return data[0] & 0x0F, payload
