#!/usr/bin/env bash
# Prove the paths of a GPU wherever one is at hand: one run, eight minutes at most, no network.
#
#     benchmarks/gpu_check.sh [FOLDER]
#
# The weights are the starter's, as safetensors and as GGUF, converted once by any benchmark of the transformers engine.
# What this machine lacks is left out with a word. Results go to FOLDER (a new one below /tmp) and to the
# terminal. Exit code 1 where a check failed.
set -uo pipefail
cd "$(dirname "$0")/.."

out=${1:-$(mktemp -d)}
mkdir -p "$out"
python=${PYTHON:-python3}
deadline=$((SECONDS + 480))
failed=0
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

# check NAME SECONDS COMMAND…: run it, no longer than that and than what is left; keep what it says.
check() {
  local name=$1 most=$2 left=$((deadline - SECONDS)) began=$SECONDS code
  shift 2
  if [ "$left" -le 5 ]; then
    printf '%-26s left out: the eight minutes are over\n' "$name"
    return
  fi
  timeout $((most < left ? most : left)) "$@" >"$out/$name.txt" 2>&1
  code=$?
  case $code in
    0) printf '%-26s ok      %3d s  %s\n' "$name" $((SECONDS - began)) "$(tail -n 1 "$out/$name.txt" | cut -c 1-90)" ;;
    77) printf '%-26s left out: %s\n' "$name" "$(tail -n 1 "$out/$name.txt")" ;;
    *)
      failed=1
      printf '%-26s FAILED  %3d s  %s (%s)\n' "$name" $((SECONDS - began)) \
        "$(tail -n 1 "$out/$name.txt" | cut -c 1-90)" "$out/$name.txt"
      ;;
  esac
}

part() { check "$1" "$2" "$python" benchmarks/gpu_check.py "$1"; }

printf 'results in %s\n' "$out"
part machine 60
part load-bf16 90
part load-4bit 90
part load-8bit 90
part device-map 90
part tokens 90
part compiled 150
part speed 120
part picture 90
part batching 90
part llamacpp 90
part serve 90
exit $failed
