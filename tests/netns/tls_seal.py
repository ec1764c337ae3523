"""TLS 1.3 records that no library would send, under the keys of a live connection."""
import ctypes
import ctypes.util
import hashlib
import hmac
import pathlib
import struct

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA, HEARTBEAT = range(20, 25)
_KEY_BYTES, _IV_BYTES, _TAG_BYTES = 32, 12, 16
_GET_TAG = 0x10  # EVP_CTRL_AEAD_GET_TAG

_crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
for _name, _result in (("EVP_CIPHER_CTX_new", ctypes.c_void_p), ("EVP_aes_256_gcm", ctypes.c_void_p)):
    getattr(_crypto, _name).restype = _result


def _aes_256_gcm(key, iv, text, aad):
    """The ciphertext with its tag."""
    context = ctypes.c_void_p(_crypto.EVP_CIPHER_CTX_new())
    out, tag, n = ctypes.create_string_buffer(len(text) + 16), ctypes.create_string_buffer(_TAG_BYTES), ctypes.c_int()
    done = (_crypto.EVP_EncryptInit_ex(context, ctypes.c_void_p(_crypto.EVP_aes_256_gcm()), None, key, iv),
            _crypto.EVP_EncryptUpdate(context, None, ctypes.byref(n), aad, len(aad)),
            _crypto.EVP_EncryptUpdate(context, out, ctypes.byref(n), text, len(text)),
            _crypto.EVP_EncryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(n)),
            _crypto.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, _TAG_BYTES, tag))
    _crypto.EVP_CIPHER_CTX_free(context)
    assert done == (1,) * 5, done
    return out.raw[:len(text)] + tag.raw


def _expand(secret, label, size):
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1), of one block."""
    label = b"tls13 " + label
    info = struct.pack("!HB", size, len(label)) + label + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha384).digest()[:size]


def record(kind, content, length=None):
    """A record in clear; `length` for a header that lies."""
    return struct.pack("!BHH", kind, 0x0303, len(content) if length is None else length) + content


def handshake(kind, body):
    """A handshake message (RFC 8446 §4)."""
    return struct.pack("!B", kind) + len(body).to_bytes(3, "big") + body


class Sealer:
    """Seals records as one end of a connection, that has sent none under its application keys yet."""

    def __init__(self, tls, key_log, server_side):
        """`tls`: a socket of Python's whose context wrote `key_log`."""
        assert tls.cipher()[0] == "TLS_AES_256_GCM_SHA384", tls.cipher()
        label = f"{'SERVER' if server_side else 'CLIENT'}_TRAFFIC_SECRET_0"
        lines = [line.split() for line in pathlib.Path(key_log).read_text().splitlines()]
        self._begin([bytes.fromhex(line[2]) for line in lines if line[:1] == [label]][-1])

    def _begin(self, secret):
        self._secret, self._sequence = secret, 0
        self._key, self._iv = _expand(secret, b"key", _KEY_BYTES), _expand(secret, b"iv", _IV_BYTES)

    def seal(self, kind, content, padding=0):
        """A record of that inner type (RFC 8446 §5.2); None: of no type at all."""
        text = content + (b"" if kind is None else bytes([kind])) + bytes(padding)
        nonce = bytes(a ^ b for a, b in zip(self._iv, self._sequence.to_bytes(_IV_BYTES, "big")))
        header = struct.pack("!BHH", DATA, 0x0303, len(text) + _TAG_BYTES)
        self._sequence += 1
        return header + _aes_256_gcm(self._key, nonce, text, header)

    def key_update(self, asks=True):
        """A KeyUpdate (RFC 8446 §4.6.3); what comes after it is sealed with the next keys."""
        sealed = self.seal(HANDSHAKE, handshake(24, bytes([asks])))
        self._begin(_expand(self._secret, b"traffic upd", 48))
        return sealed
