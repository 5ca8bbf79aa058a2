#!/bin/sh
# Compile proofs/coq and check that nothing is assumed.  Usage: sh proofs/check.sh [BUILD_DIR]
# Prints one line a theorem.  Exit 0: every theorem holds without axioms.  Exit 3: no Coq here.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
build="${1:-$here/.build}"
order="fibre exact_decoding several_rows countable one_active leverage van_trees counterexamples maxout"

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
    # each file ends with: Definition theorems := (@one, @two, ...). Print Assumptions theorems.
    if [ "$(cat "$file.log")" != "Closed under the global context" ]; then
        echo "$file.v: something is assumed" >&2
        cat "$file.log" >&2
        exit 1
    fi
    sed -n '/^Definition theorems/,/)\.$/p' "$file.v" | grep -oE '@[A-Za-z0-9_]+' | tr -d @ | while read -r name; do
        echo "$file.$name: Closed under the global context"
    done
done
