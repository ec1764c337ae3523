"""Servers that know nothing of TLS, as a workload has them; each ready once its function returns."""
import os
import pathlib
import pwd
import textwrap
import time

HTTP, REDIS, IPERF, POSTGRES = 8080, 6379, 5201, 5432
POSTGRES_PROGRAMS = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def start_redis(namespace, directory):
    namespace.popen("redis-server", "--port", REDIS, "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "", "--dir", directory)
    _wait(namespace, "redis-cli", "ping")


def start_nginx(namespace, directory):
    """It answers with the client's address and port, as it sees them, and then what the path said."""
    home = directory / "nginx"
    home.mkdir()
    (home / "nginx.conf").write_text(textwrap.dedent(f"""\
        daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
        events {{}}
        http {{
          access_log off;
          {" ".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))}
          server {{ listen {HTTP}; listen [::]:{HTTP}; location / {{ return 200 "$remote_addr $remote_port $uri"; }} }}
        }}
        """))
    namespace.popen("nginx", "-e", home / "error.log", "-p", home, "-c", home / "nginx.conf")
    _wait(namespace, "curl", "-s", f"http://127.0.0.1:{HTTP}/")


def start_iperf(namespace):
    namespace.popen("iperf3", "-s", "-p", IPERF)


def start_postgres(namespace, directory):
    """As its own user, since it refuses to be root."""
    home, user = directory / "postgres", pwd.getpwnam("postgres")
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    as_user = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    namespace.run(*as_user, POSTGRES_PROGRAMS / "initdb", "-D", home / "data", "-A", "trust", "-N", "--no-locale", cwd=home)
    with open(home / "data" / "pg_hba.conf", "a") as rules:
        rules.write("host all all all trust\n")
    namespace.popen(*as_user, POSTGRES_PROGRAMS / "postgres", "-D", home / "data", "-h", "*", "-p", POSTGRES, "-k", home, cwd=home)
    _wait(namespace, "psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "select 1")


def _wait(namespace, *command):
    end = time.monotonic() + 15
    while (done := namespace.run(*command, check=False)).returncode != 0:
        if time.monotonic() > end:
            raise AssertionError(f"{command[0]}: {done.stdout}{done.stderr}")
        time.sleep(0.05)
