"""X.509-SVIDs made with the openssl command, in the files that the relay reads."""
import os
import pathlib
import shutil

import net

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_LEAF = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
"""
_CA = """[ca]
default_ca=a
[a]
database={0}/index.txt
crlnumber={0}/crlnumber
default_md=sha256
default_crl_days=1
"""


class Authority:
    """A trust domain's CA, and what it issues."""

    def __init__(self, directory, trust_domain="corp.example"):
        self.directory, self.trust_domain = pathlib.Path(directory), trust_domain
        self.directory.mkdir(parents=True)
        self.certificate, self.key = self.directory / "ca.pem", self.directory / "ca.key"
        net.run("openssl", "req", "-x509", *_KEY, "-keyout", self.key, "-out", self.certificate, "-days", "30",
                "-subj", f"/O={trust_domain}", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", f"subjectAltName=URI:spiffe://{trust_domain}")
        (self.directory / "index.txt").touch()
        (self.directory / "crlnumber").write_text("01\n")
        (self.directory / "ca.cnf").write_text(_CA.format(self.directory))

    def mint(self, name, path, extensions=_LEAF):
        """(certificate, key) of spiffe://TRUST-DOMAIN/PATH; `extensions` for SVIDs that aren't right."""
        certificate, key, request = (self.directory / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extension_file = self.directory / f"{name}.ext"
        extension_file.write_text(extensions + f"subjectAltName=URI:spiffe://{self.trust_domain}/{path}\n")
        net.run("openssl", "req", "-new", *_KEY, "-keyout", key, "-out", request, "-subj", "/CN=ignored")
        net.run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", "2", "-extfile", extension_file, "-out", certificate)
        return certificate, key

    def revoke(self, certificate):
        """The CRL in which it stands, and those before it."""
        crl = self.directory / "crl.pem"
        config = ("-config", self.directory / "ca.cnf", "-cert", self.certificate, "-keyfile", self.key)
        net.run("openssl", "ca", *config, "-revoke", certificate)
        net.run("openssl", "ca", *config, "-gencrl", "-out", crl)
        return crl


class SvidDirectory:
    """What a relay reads: DIR/bundles, DIR/crls, DIR/svids, belonging to its user. Each file appears whole."""

    def __init__(self, directory, uid):
        self.path, self._uid = pathlib.Path(directory), uid
        for part in ("", "bundles", "crls", "svids"):
            (self.path / part).mkdir(parents=True, exist_ok=True)
            os.chown(self.path / part, uid, uid)
            os.chmod(self.path / part, 0o700)

    def _put(self, source, target):
        fresh = target.with_name(f".{target.name}")
        shutil.copyfile(source, fresh)
        os.chmod(fresh, 0o600)
        os.chown(fresh, self._uid, self._uid)
        os.rename(fresh, target)

    def trust(self, authority):
        self._put(authority.certificate, self.path / "bundles" / f"{authority.trust_domain}.pem")

    def distrust(self, authority):
        (self.path / "bundles" / f"{authority.trust_domain}.pem").unlink()

    def revoked(self, authority, crl):
        self._put(crl, self.path / "crls" / f"{authority.trust_domain}.pem")

    def add(self, name, minted):
        certificate, key = minted
        for source, kind in ((key, "key"), (certificate, "pem")):
            self._put(source, self.path / "svids" / f"{name}.{kind}")

    def remove(self, name):
        for kind in ("pem", "key"):
            (self.path / "svids" / f"{name}.{kind}").unlink()
