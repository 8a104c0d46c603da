#!/usr/bin/env bash
# Builds the sandbox's image and runs the attack table and the honest programs in it: PYTHON [BASE].
# Without BASE a Debian is bootstrapped here. Needs root, Debian packages and no other Docker daemon.
set -euo pipefail
python=$1
base=${2:-}
image=phigate-sandbox:test
scratch=$(mktemp -d)
started=

finish() {
  [[ -z $started ]] || { kill "$started"; wait "$started" || true; }
  rm -rf "$scratch"
}
trap finish EXIT

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
[[ -n $base ]] || command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! docker info >/dev/null 2>&1; then
  # No bridge and no firewall rules: the image is built and run on the host's network.
  dockerd --storage-driver overlay2 --iptables=false --ip6tables=false --bridge=none \
    >"$scratch/dockerd.log" 2>&1 &
  started=$!
  for ((i = 0; i < 100; i++)); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$started" 2>/dev/null || break
    sleep 0.2
  done
  docker info >/dev/null 2>&1 || { tail -3 "$scratch/dockerd.log"; echo "dockerd does not start here"; exit 1; }
fi

if [[ -z $base ]]; then
  base=phigate-sandbox-base:test
  echo "bootstrapping a base image"
  # The authorities of this machine, for builds behind an inspecting proxy.
  mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
    bookworm "$scratch/base.tar"
  docker import "$scratch/base.tar" "$base" >/dev/null
fi

echo "building the image"
docker build --quiet --network host --build-arg "BASE=$base" -t "$image" sandbox_fargate
PHIGATE_TEST_SANDBOX_IMAGE=$image "$python" -m pytest tests/sandbox "${@:3}"
