#!/usr/bin/env bash
# What the chart says, for those who use neither Helm nor its values:
#   render.sh [DIR]     writes DIR/packaging/kubernetes/roost.yaml and DIR/config/roost.kubernetes.yaml (DIR: this source tree)
# $HELM is the program to use. A test holds the two files against the chart.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
out=${1:-$top}
mkdir -p "$out/packaging/kubernetes" "$out/config"
chart() {
  "${HELM:-helm}" template roost "$top/packaging/helm/roost" --namespace roost --no-hooks --set workspaces.domain=preview.example.com \
    --set apiKeys.existingSecret=session-manager-keys "$@"
}
{
  cat <<'HEAD'
# Roost without Helm. Made by packaging/kubernetes/render.sh from the chart in packaging/helm/roost: do not edit it here.
# Before you apply it, put your domain in place of preview.example.com and your images in place of localhost/roost*, and make the
# namespace and the Secret that docs/kubernetes.md shows.
HEAD
  chart | sed -e '/^ *helm\.sh\/chart:/d' -e '/^# Source:/d' -e 's/^\( *app\.kubernetes\.io\/managed-by:\) Helm$/\1 kubectl/'
} >"$out/packaging/kubernetes/roost.yaml"
chart --show-only templates/configmap.yaml | sed -n '/^  roost\.yaml: |$/,$p' | sed -e 1d -e 's/^    //' >"$out/config/roost.kubernetes.yaml"
