#!/bin/sh
# Makes an image to build with where no registry can be reached: this machine's Go toolchain, a static busybox (Debian's
# package busybox-static) and the CA certificates, and nothing else.
#
#   ./standin-go-image.sh [NAME]                  (default starling/standin-go:local)
#   GO_IMAGE=starling/standin-go:local GOPROXY=$(go env GOPROXY) docker-compose up --build
set -eu

name=${1:-starling/standin-go:local}
goroot=$(go env GOROOT)
busybox=${BUSYBOX:-/bin/busybox}
certs=${CERTS:-/etc/ssl/certs/ca-certificates.crt}

fail() { echo "error: $1" >&2; [ -z "${2:-}" ] || echo "try: $2" >&2; exit 1; }
[ -x "$busybox" ] || fail "$busybox is missing" "apt-get install busybox-static"
case $(go env GOOS) in linux) ;; *) fail "this machine's Go toolchain is not one for Linux" ;; esac
[ -r "$certs" ] || fail "$certs is missing" "apt-get install ca-certificates"
docker version >/dev/null || fail "no Docker engine answers"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/tmp" "$root/root" "$root/usr/local"
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
for tool in sh cp mkdir rm ls cat ln mv chmod env uname; do ln -s busybox "$root/bin/$tool"; done
"$root/bin/sh" -c : || fail "$busybox does not run by itself: it must be static" "apt-get install busybox-static"
cp "$certs" "$root/etc/ssl/certs/ca-certificates.crt"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"

# The toolchain is appended from where it lies: a copy of it would only cost disk.
tar -C "$root" -cf "$root.tar" .
trap 'rm -rf "$root" "$root.tar"' EXIT INT TERM
tar -C "$(dirname "$goroot")" --anchored --exclude="$(basename "$goroot")/test" --exclude="$(basename "$goroot")/api" --exclude="$(basename "$goroot")/doc" \
	--transform "s,^$(basename "$goroot"),usr/local/go,S" -rf "$root.tar" "$(basename "$goroot")"
docker import \
	-c 'ENV PATH=/usr/local/go/bin:/bin' -c 'ENV GOPATH=/go' -c 'ENV GOTOOLCHAIN=local' -c 'ENV HOME=/root' \
	"$root.tar" "$name" >/dev/null
echo "$name"
