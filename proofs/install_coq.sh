#!/bin/sh
# Install Coq and the Mathematical Components libraries that proofs/coq needs (about 80 s, 1 GB).
# Does nothing where they already work.  Exit 0: ready.  Exit 3: cannot be installed here.
set -eu

ready() {
    command -v coqc >/dev/null 2>&1 || return 1
    lib="$(coqc -where)/user-contrib/mathcomp"
    [ -e "$lib/algebra/all_algebra.vo" ] && [ -e "$lib/algebra_tactics/ring.vo" ]
}

if ready; then exit 0; fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Coq with MathComp is missing: as root on Debian run 'sh proofs/install_coq.sh'; elsewhere install" \
        "Coq 8.16 with mathcomp-ssreflect, mathcomp-algebra 1.15 and mathcomp-algebra-tactics 1.0." >&2
    exit 3
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null || true
apt-get install -y -q --no-install-recommends coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra \
    libcoq-mathcomp-algebra-tactics libcoq-mathcomp-zify >/dev/null || {
    echo "Coq with MathComp could not be installed by apt-get: the formal proofs are not checked here." >&2
    exit 3
}
ready || { echo "Coq was installed, but its MathComp libraries are not where coqc looks for them." >&2; exit 3; }
