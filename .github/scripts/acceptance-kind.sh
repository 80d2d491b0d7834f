#!/usr/bin/env bash
# acceptance-kind.sh CLUSTER: builds the four release images, loads them into a kind cluster, installs the chart with
# them under the restricted Pod Security Standard, looks at their pods, and runs the demo on what is there.
set -euo pipefail
cluster=$1
tag=0.0.0-ci
KUBECONFIG=$(mktemp)
export KUBECONFIG
kind get kubeconfig --name "$cluster" > "$KUBECONFIG"

values=(--set "settings.images.allowed={ghcr.io/ameide/*}")
for operator in domain process agent uisurface; do
  image=ghcr.io/ameide/$operator-operator:$tag
  docker buildx build --load --build-arg "VERSION=$tag" --tag "$image" \
    --file "operators/$operator-operator/Dockerfile.release" .
  docker image inspect --format "$image: {{.Size}} bytes" "$image"
  # As it runs in a cluster: no root, no capabilities, a read-only root.
  told=$(docker run --rm --read-only --cap-drop=ALL "$image" --version)
  [[ $told == "$operator-operator, version $tag" ]] || { echo "$image says that it is $told" >&2; exit 1; }
  kind load docker-image --name "$cluster" "$image"
  values+=(--set "operators.$operator.image.tag=$tag")
done

kubectl create namespace ameide-system
kubectl label namespace ameide-system pod-security.kubernetes.io/enforce=restricted
helm upgrade --install ameide-operators charts/ameide-operators --namespace ameide-system --wait --timeout 5m \
  "${values[@]}"
kubectl get pods --namespace ameide-system --output wide
restarts=$(kubectl get pods --namespace ameide-system \
  --output jsonpath='{.items[*].status.containerStatuses[*].restartCount}')
[[ ! $restarts =~ [1-9] ]] || { echo "an operator was restarted: $restarts" >&2; exit 1; }

make demo
