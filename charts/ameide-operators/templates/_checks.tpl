{{- /* Combinations of values that a schema cannot refuse. */ -}}
{{- define "ameide.checks" -}}
{{- if eq .Values.rbac.scope "namespace" -}}
{{- if not .Values.watch.namespaces -}}
{{- fail "rbac.scope is namespace, but watch.namespaces is empty: name the namespaces, or use rbac.scope: cluster" -}}
{{- end -}}
{{- if .Values.watch.excludeNamespaces -}}
{{- fail "watch.excludeNamespaces needs to see all namespaces: use rbac.scope: cluster, or leave them out of watch.namespaces" -}}
{{- end -}}
{{- range .Values.watch.namespaces -}}
{{- if regexMatch "[*?\\[\\]]" . -}}
{{- fail (printf "watch.namespaces holds the glob %q, but rbac.scope is namespace: name the namespaces, or use rbac.scope: cluster" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- $election := (merge (dict) (.settings | default dict) $.Values.settings).leaderElection | default dict -}}
{{- if and (gt (int .replicas) 1) (hasKey $election "enabled") (not $election.enabled) -}}
{{- fail (printf "operators.%s has %d replicas without leader election: they would work against each other; use replicas: 1" .key (int .replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
