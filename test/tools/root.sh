# shellcheck shell=bash
# New root file systems of Debian, in which tests run what a user would. Sourced behind
# scripts/lib.sh; fresh_root is the folder of the root.
SUITE=bookworm

make_root() { # [PACKAGE,…]
  local mirror
  # Makes the suite's sources.list from what apt is configured with here.
  scripts/apt-suite "$SUITE" true
  sources=$CACHE/apt/$SUITE/sources.list
  mirror=$(awk -v suite="$SUITE" '$(NF - 1) == suite { print $(NF - 2) }' "$sources")
  debootstrap --variant=minbase ${1:+"--include=$1"} "$SUITE" "$fresh_root" "$mirror"
  cp "$sources" "$fresh_root/etc/apt/sources.list"
}

# As the archives of the Node project are unpacked: into /usr/local.
add_node() { # [NODE]
  local npm
  npm=$(dirname "$(dirname "$(realpath "$(command -v npm)")")")
  mkdir -p "$fresh_root/usr/local/lib/node_modules"
  cp "${1:-$(node -p process.execPath)}" "$fresh_root/usr/local/bin/node"
  cp -R "$npm" "$fresh_root/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$fresh_root/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$fresh_root/usr/local/bin/npx"
}

# From here to there, if it is here.
carry() { # PATH…
  local path
  for path in "$@"; do
    [[ -e $path ]] || continue
    mkdir -p "$fresh_root$(dirname "$path")"
    cp -RL "$path" "$fresh_root$(dirname "$path")"
  done
}

variables=()
carry_network() {
  local name file
  carry /etc/resolv.conf /etc/hosts /etc/apt/auth.conf.d /etc/apt/keyrings
  for file in /etc/apt/apt.conf.d/99*; do
    carry "$file"
  done
  cp /root/.npmrc "$fresh_root/root/" 2>/dev/null || true
  carry /root/.config/go
  while read -r name; do
    variables+=("$name=${!name}")
  done < <(compgen -e | grep -iE '^((https?|ftp|all|no)_proxy|GO(PROXY|SUMDB|NOSUMDB|PRIVATE|AUTH)|npm_config_registry)$')
  # The package ca-certificates makes /etc/ssl/certs anew and drops what was added there by hand.
  if [[ -n ${SSL_CERT_FILE:-} ]]; then
    cp -L "$SSL_CERT_FILE" "$fresh_root/etc/host-certificates.crt"
    variables+=(SSL_CERT_FILE=/etc/host-certificates.crt)
    variables+=(NODE_EXTRA_CA_CERTS=/etc/host-certificates.crt)
  fi
}

# Mounts of its own go with its mount namespace. /sys comes without what is mounted beneath it:
# tracefs and bpffs are for setup to mount.
enter() { # COMMAND…
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -ec '
    root=$1
    shift
    mount --rbind /dev "$root/dev"
    mount --bind /sys "$root/sys"
    mount --rbind /proc "$root/proc"
    exec chroot "$root" "$@"' enter "$fresh_root" \
    env -i HOME=/root LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${variables[@]}" \
    "$@"
}
