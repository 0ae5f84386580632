# Planted bugs: each patch of Simulation/mutants is applied to a copy of the sources, built, and looked for by the model
# test. To be sourced by script/simulate.

mutant_seeds=${MUTANT_SEEDS:-100000}

run_mutants() {
    local package=$build/mutants patch name what files output seed failed=0
    local -a patches=()
    if [ $# = 0 ]; then patches=("$mutants"/*.patch); else for name in "$@"; do patches+=("$mutants/$name.patch"); done; fi
    rm -rf "$package/Sources"
    mkdir -p "$package"
    cp -a "$root/Sources" "$package/Sources"
    lay_out "$package" "$package/Sources"
    for patch in "${patches[@]}"; do
        name=$(basename "$patch" .patch)
        what=$(head -n 1 "$patch")
        files=$(sed -n 's/^+++ b\///p' "$patch")
        if ! (cd "$package" && patch -p1 -s -N -r - --no-backup-if-mismatch <"$patch" >"$package/patch.log" 2>&1); then
            echo "$name: the patch does not apply: $what"
            failed=1
        elif ! build_package "$package"; then
            echo "$name: does not build: $what"
            grep error: "$package/build.log" | head -5
            failed=1
        else
            output=$("$package/.build/release/$product" "$subject" --seeds "$mutant_seeds" --first 1 || true)
            seed=$(sed -n 's/^seed \([0-9]*\): .*/\1/p' <<<"$output" | head -n 1)
            if [ -n "$seed" ]; then
                echo "$name: found by seed $seed: $what"
                echo "    $(grep -E '(disagreement|violation) at|ends by signal|does not end' <<<"$output" | tail -n 1 | cut -c 1-160)"
            else
                echo "$name: NOT FOUND in $mutant_seeds seeds: $what"
                failed=1
            fi
        fi
        for name in $files; do cp "$root/$name" "$package/$name"; done
    done
    return $failed
}
