#!/usr/bin/env bash
# sign.sh REFERENCE@DIGEST: signs it with this workflow's own identity, without a key, and verifies that.
# The same command, with the identity written out, is in docs/gitops.md for whoever installs it.
set -euo pipefail
reference=$1
[[ $reference == *@sha256:* ]] || { echo "only a digest says what is signed: $reference" >&2; exit 1; }

cosign sign --yes --recursive "$reference"
cosign verify \
  --certificate-identity "https://github.com/$GITHUB_WORKFLOW_REF" \
  --certificate-oidc-issuer https://token.actions.githubusercontent.com \
  "$reference" > /dev/null
