#!/bin/sh
# Compile proofs/coq and check that nothing is assumed.  Usage: sh proofs/check.sh [BUILD_DIR]
# Prints one line a theorem.  Exit 0: every theorem holds without axioms.  Exit 3: no Coq here.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
build="${1:-$here/.build}"
order="fibre exact_decoding several_rows countable one_active leverage counterexamples"

if grep -nE '\b(Admitted|admit|Axiom|Axioms|Parameter|Parameters|Conjecture|Abort)\b' "$here"/coq/*.v; then
    echo "proofs/coq must not contain the words above" >&2
    exit 1
fi

sh "$here/install_coq.sh"
mkdir -p "$build"
cp "$here"/coq/*.v "$build"/
cd "$build"
for file in $order; do
    coqc -q -w none -Q . amortgap "$file.v" >"$file.log" 2>&1 || { cat "$file.log" >&2; exit 1; }
    # one 'Closed ...' line for each 'Print Assumptions THEOREM.', in the same order
    sed -n 's/^Print Assumptions \(.*\)\.$/\1/p' "$file.v" >"$file.names"
    if [ "$(grep -vc '^Closed under the global context$' "$file.log")" != 0 ] ||
        [ "$(wc -l <"$file.log")" != "$(wc -l <"$file.names")" ]; then
        echo "$file.v: something is assumed" >&2
        cat "$file.log" >&2
        exit 1
    fi
    while read -r name; do
        echo "$file.$name: Closed under the global context"
    done <"$file.names"
done
