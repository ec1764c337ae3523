"""Certificates that nobody should believe, made with the openssl command: each a good one but for one thing."""
import pathlib
import ssl
import time

import net

ID = "spiffe://corp.example/web/1"
_LEAF = {"basicConstraints": "critical,CA:FALSE", "keyUsage": "critical,digitalSignature", "extendedKeyUsage": "serverAuth,clientAuth",
         "subjectAltName": f"URI:{ID}"}
_ABOVE = {"basicConstraints": "critical,CA:TRUE", "keyUsage": "critical,keyCertSign,cRLSign"}
_EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_EXPLICIT = (*_EC, "-pkeyopt", "ec_param_enc:explicit")
_RSA_1024 = ("rsa:1024",)
_CRITICAL = {"1.3.6.1.4.1.55555.1": "critical,DER:0500"}
_CONFIG = """[ca]
default_ca=a
[a]
database={0}/index.txt
new_certs_dir={0}
default_md=sha256
rand_serial=yes
unique_subject=no
policy=p
[p]
commonName=supplied
"""


def _uri(text):
    return {"subjectAltName": f"URI:{text}"}


def _names(*names):
    """Alternative names of (tag, content), byte for byte."""
    entries = b"".join(bytes([0x80 | tag, len(content)]) + content for tag, content in names)
    return {"subjectAltName": f"DER:{(bytes([0x30, len(entries)]) + entries).hex()}"}


def _above(**changes):
    return {**_ABOVE, **changes}


# Row of the table of hostile input, what is wrong, the fault; then, where it isn't the usual: the leaf's extensions (None: not there), the CAs
# from its issuer on up to the trust domain's, the leaf's key, hash, and times in seconds from now.
CERTIFICATES = (
    ("M2", "expired", "expired", dict(life=(-7200, -75))),
    ("M2", "not yet valid", "not_yet_valid", dict(life=(90, 7200))),
    ("M2", "an expired issuer", "expired", dict(above=[_above(life=(-7200, -75))])),
    ("M3", "no name", "uri_san_missing", dict(leaf={"subjectAltName": None})),
    ("M3", "two URIs", "uri_san_repeated", dict(leaf=_uri(f"{ID},URI:spiffe://corp.example/web/2"))),
    ("M3", "a CA", "leaf_is_ca", dict(leaf={"basicConstraints": "critical,CA:TRUE"})),
    ("M3", "signs certificates", "key_usage_signs", dict(leaf={"keyUsage": "critical,digitalSignature,keyCertSign"})),
    ("M3", "signs CRLs", "key_usage_signs", dict(leaf={"keyUsage": "critical,digitalSignature,cRLSign"})),
    ("M3", "no path", "spiffe_id_without_path", dict(leaf=_uri("spiffe://corp.example"))),
    ("M3", "another scheme", "spiffe_id_invalid", dict(leaf=_uri("https://corp.example/web/1"))),
    ("M4", "no key usage", "key_usage_missing", dict(leaf={"keyUsage": None})),
    ("M4", "key usage not critical", "key_usage_not_critical", dict(leaf={"keyUsage": "digitalSignature"})),
    ("M4", "no digitalSignature", "key_usage_no_signature", dict(leaf={"keyUsage": "critical,keyAgreement"})),
    ("M4", "no client's", "extended_key_usage", dict(leaf={"extendedKeyUsage": "serverAuth"})),
    ("M4", "no server's", "extended_key_usage", dict(leaf={"extendedKeyUsage": "clientAuth"})),
    ("M5", "ID of a domain whose CA didn't sign", "chain_untrusted", dict(leaf=_uri("spiffe://other.example/web/1"))),
    ("M5", "CA of another domain", "chain_untrusted", dict(domain="other.example")),
    ("M5", "a domain without a bundle", "trust_domain_unknown", dict(leaf=_uri("spiffe://third.example/web/1"))),
    *(("M6", path, "spiffe_id_invalid", dict(leaf=_uri(f"spiffe://corp.example/{path}")))
      for path in ("web/./1", "web/../web/1", "web//1", "web/1/", "web/%31", "web/1?x", "web/1\\#x")),
    ("M6", "upper-case trust domain", "spiffe_id_invalid", dict(leaf=_uri("spiffe://Corp.example/web/1"))),
    ("M7", "the ID as common name alone", "uri_san_missing", dict(leaf={"subjectAltName": "DNS:web.corp.example"})),
    ("M7", "NUL in the ID", "san_with_nul", dict(leaf=_names((6, ID.encode() + b"\0.example")))),
    ("M7", "NUL in a host beside it", "san_with_nul", dict(leaf=_names((6, ID.encode()), (2, b"corp\0.example")))),
    ("M7", "for e-mail", "extended_key_usage", dict(leaf={"extendedKeyUsage": "emailProtection"})),
    ("M7", "an address for an ID", "uri_san_missing", dict(leaf={"subjectAltName": "email:web@corp.example"})),
    ("M8", "path length", "path_length", dict(above=[_above(), _above(basicConstraints="critical,CA:TRUE,pathlen:0")])),
    ("M8", "name constraint", "name_constraint", dict(above=[_above(nameConstraints="critical,permitted;URI:other.example")])),
    ("M8", "unknown and critical", "critical_extension", dict(leaf=_CRITICAL)),
    ("M8", "unknown and critical above", "critical_extension", dict(above=[_above(**_CRITICAL)])),
    ("M8", "an issuer that is no CA", "issuer_not_ca", dict(above=[_LEAF])),
    ("M8", "an issuer without keyCertSign", "issuer_not_ca", dict(above=[_above(keyUsage="critical,cRLSign")])),
    ("M9", "SHA-1", "signature_weak", dict(hash="sha1")),
    ("M9", "SHA-1 above", "signature_weak", dict(above=[_above(hash="sha1")])),
    ("M9", "RSA of 1024 bits", "key_weak", dict(key=_RSA_1024)),
    ("M9", "RSA of 1024 bits above", "key_weak", dict(above=[_above(key=_RSA_1024)])),
    ("M9", "an explicit curve", "key_weak", dict(key=_EXPLICIT)),
    ("M9", "an explicit curve above", "key_weak", dict(above=[_above(key=_EXPLICIT)])),
    ("M14", "100 certificates", "chain_too_long", dict(above=[_above()], repeated=99)),
)
# Two with nothing wrong, and two within the skew of clocks (60 s).
GOOD = (dict(), dict(above=[_above()]), dict(life=(-7200, -20)), dict(life=(30, 7200)))
HUGE = dict(leaf={"1.3.6.1.4.1.55555.1": "DER:0483100000" + "00" * (1 << 20)})


class Forge:
    """Makes them, below the CAs of trust domains: {name: svids.Authority}."""

    def __init__(self, directory, authorities):
        self._directory, self._authorities = pathlib.Path(directory), authorities
        self._directory.mkdir()
        self._requests, self._number = {}, 0
        (self._directory / "index.txt").touch()
        (self._directory / "ca.cnf").write_text(_CONFIG.format(self._directory))

    def make(self, leaf=None, above=(), domain="corp.example", key=_EC, hash="sha256", life=None, repeated=1):
        """(chain, key)."""
        authority = self._authorities[domain]
        issuer, chain = (authority.certificate, authority.key), []
        for level, what in reversed(list(enumerate(above, 1))):
            what = dict(what)
            key_hash_life = [what.pop(name, usual) for name, usual in (("key", _EC), ("hash", "sha256"), ("life", None))]
            issuer = self._issue(f"ca {level}", issuer, *key_hash_life, what)
            chain.insert(0, issuer[0].read_text())
        certificate, own = self._issue(ID, issuer, key, hash, life, {**_LEAF, **(leaf or {})})
        with open(certificate, "a") as file:
            file.write("".join(chain * repeated))
        return certificate, own

    def _request(self, name, key):
        """(request, key): one for all certificates of that name and kind of key."""
        if (name, key) not in self._requests:
            request, own = (self._directory / f"{len(self._requests)}.{kind}" for kind in ("csr", "key"))
            net.run("openssl", "req", "-new", "-newkey", *key, "-nodes", "-keyout", own, "-out", request,
                    "-subj", "/CN=" + name.replace("/", "\\/"))
            self._requests[name, key] = request, own
        return self._requests[name, key]

    def _issue(self, name, issuer, key, hash, life, extensions):
        """(certificate, key)."""
        request, own = self._request(name, key)
        self._number += 1
        certificate, extension_file = (self._directory / f"issued-{self._number}.{kind}" for kind in ("pem", "ext"))
        extension_file.write_text("".join(f"{name}={value}\n" for name, value in extensions.items() if value is not None))
        begins, ends = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + t)) for t in life or (-3600, 3600))
        net.run("openssl", "ca", "-batch", "-notext", "-config", self._directory / "ca.cnf", "-in", request, "-out", certificate,
                "-cert", issuer[0], "-keyfile", issuer[1], "-md", hash, "-startdate", begins, "-enddate", ends, "-extfile", extension_file)
        return certificate, own


def context(server_side, minted=None):
    """A peer's that believes anybody, and shows what others would be ashamed of."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_ciphers("ALL:eNULL:@SECLEVEL=0")
    if minted:
        made.load_cert_chain(*minted)
    return made
