#!/usr/bin/env bash
# release-chart.sh FOLDER: pins the images whose digests lie in FOLDER in a copy of the chart, and pushes that copy to
# $REGISTRY/helm under the version of $GITHUB_REF. Writes the chart's digest to $GITHUB_OUTPUT. TOKEN is for the registry.
set -euo pipefail
folder=$1
release=(uv run --locked --package ameide-dev python -m ameide_dev.release)

version=$("${release[@]}" version "$GITHUB_REF")
echo "$TOKEN" | docker login "${REGISTRY%%/*}" --username "$GITHUB_ACTOR" --password-stdin
echo "$TOKEN" | helm registry login "${REGISTRY%%/*}" --username "$GITHUB_ACTOR" --password-stdin
"${release[@]}" refuse --credentials ~/.docker/config.json "$REGISTRY/helm/ameide-operators:$version"

mkdir -p dist
cp -R charts/ameide-operators dist/
"${release[@]}" pin --chart dist/ameide-operators --version "$version" --registry "$REGISTRY" --digests "$folder"
digest=$("${release[@]}" publish --chart dist/ameide-operators --version "$version" --registry "$REGISTRY" --folder dist)
echo "digest=$digest" >> "$GITHUB_OUTPUT"
