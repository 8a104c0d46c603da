#!/usr/bin/env bash
# Runs a command where Docker runs and has an image of Lambda's python3.13, whose name is in
# PHIGATE_LAMBDA_BASE: COMMAND... It is AWS's own where that can be pulled, else a Debian with AWS's
# runtime client and boto3. Needs python3.13, and root and Debian packages for what is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lock=$here/../../local/lambda.lock
# Made anew when what it is made of has changed.
name=phigate-lambda-base:$(cat "$lock" "$0" | sha256sum | cut -c1-16)
export PHIGATE_LAMBDA_BASE=$name
scratch=$(mktemp -d)
started=

finish() {
  [[ -z $started ]] || { kill "$started"; wait "$started" || true; }
  rm -rf "$scratch"
}
trap finish EXIT

install() {
  command -v "$1" >/dev/null && return
  echo "installing $2"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2" >/dev/null
}

install dockerd docker.io
if ! docker info >/dev/null 2>&1; then
  # The bridge carries the published ports of functions; no rules of a firewall are touched. Ctrl-C
  # is not for it: what the command has started is stopped through it.
  setsid dockerd --storage-driver overlay2 --iptables=false --ip6tables=false >"$scratch/dockerd.log" 2>&1 &
  started=$!
  for ((i = 0; i < 100; i++)); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$started" 2>/dev/null || break
    sleep 0.2
  done
  docker info >/dev/null 2>&1 || { tail -3 "$scratch/dockerd.log"; echo "dockerd does not start here"; exit 1; }
fi

if ! docker image inspect "$name" >/dev/null 2>&1; then
  # A pull that needs longer than this would fail in the end.
  if timeout 60 docker pull --quiet public.ecr.aws/lambda/python:3.13 >/dev/null 2>&1; then
    docker tag public.ecr.aws/lambda/python:3.13 "$name"
  else
    install mmdebstrap mmdebstrap
    echo "AWS's image cannot be pulled: bootstrapping one"
    # trixie has python3.13. The authorities of this machine, for builds behind an inspecting proxy.
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3 \
      --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
      trixie "$scratch/base.tar"
    docker import "$scratch/base.tar" phigate-lambda-debian:trixie >/dev/null
    mkdir "$scratch/image"
    python3.13 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
      --require-hashes --no-deps --only-binary :all: --target "$scratch/image/runtime" \
      -r "$lock"
    cat >"$scratch/image/runtime/bootstrap" <<'BOOTSTRAP'
#!/bin/sh
# The order of paths is the managed runtime's.
export PYTHONPATH=/var/task:/opt/python:/var/runtime
exec ${AWS_LAMBDA_EXEC_WRAPPER-} /usr/bin/python3.13 -m awslambdaric "$_HANDLER"
BOOTSTRAP
    printf '#!/bin/sh\nexport _HANDLER="$1"\nexec /var/rapid/aws-lambda-rie /var/runtime/bootstrap\n' \
      >"$scratch/image/lambda-entrypoint.sh"
    chmod 755 "$scratch/image/runtime/bootstrap" "$scratch/image/lambda-entrypoint.sh"
    printf 'FROM phigate-lambda-debian:trixie\nCOPY runtime /var/runtime\nCOPY lambda-entrypoint.sh /\nWORKDIR /var/task\n' \
      >"$scratch/image/Dockerfile"
    DOCKER_BUILDKIT=0 docker build --quiet --network host -t "$name" "$scratch/image" >/dev/null 2>&1
  fi
fi

"$@"
