# Sourced: counts the tests in LOG; FAILED_RUNS names what did not end well.
# shellcheck shell=bash

sum() { sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$LOG" | awk '{ n += $1 } END { print n + 0 }'; }

# Prints what failed and, last, `N passed, N failed, N skipped`; whether none failed.
report_counts() {
    local passed failed skipped
    passed=$(sum passed) failed=$(sum failed) skipped=$(sum ignored)
    if [ ${#FAILED_RUNS[@]} != 0 ]; then
        echo "failed in: $(printf '%s; ' "${FAILED_RUNS[@]}")"
        grep -E '^test .* FAILED$|^error(\[|:)' "$LOG" | sort | uniq -c || true
        [ "$failed" != 0 ] || failed=${#FAILED_RUNS[@]} # it did not build, or it died before it could count
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}
