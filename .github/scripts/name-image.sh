#!/usr/bin/env bash
# name-image.sh REPOSITORY FOLDER: makes one image of what each platform built, under the names that this Git ref gives.
# FOLDER holds a file for each platform, whose name is the digest without sha256:. Writes the image's digest to
# $GITHUB_OUTPUT.
set -euo pipefail
repository=$1 folder=$2

names=$(uv run --locked --package ameide-dev python -m ameide_dev.release names \
  --ref "$GITHUB_REF" --revision "$GITHUB_SHA" "$repository")
tags=() sources=()
for name in $names; do tags+=(--tag "$name"); done
for file in "$folder"/*; do sources+=("$repository@sha256:${file##*/}"); done

docker buildx imagetools create "${tags[@]}" "${sources[@]}"
digest=$(docker buildx imagetools inspect "${names%%$'\n'*}" --format '{{.Manifest.Digest}}')
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "no digest of $names: $digest" >&2; exit 1; }
echo "digest=$digest" >> "$GITHUB_OUTPUT"
