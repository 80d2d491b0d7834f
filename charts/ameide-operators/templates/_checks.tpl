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
{{- range $operator := include "ameide.operators" . | fromYamlArray -}}
{{- if and (gt (int .replicas) 1) (not .leaderElection.enabled) -}}
{{- fail (printf "operators.%s has %d replicas without leader election: they would work against each other; use replicas: 1" .key (int .replicas)) -}}
{{- end -}}
{{- with .leaderElection -}}
{{- if not (and (lt (mulf .retryPeriod 1.2) (float64 .renewDeadline)) (lt (float64 .renewDeadline) (float64 .leaseDuration))) -}}
{{- fail (printf "operators.%s.leaderElection: expected 1.2 times retryPeriod < renewDeadline < leaseDuration, or two could lead; it is %v, %v and %v" $operator.key .retryPeriod .renewDeadline .leaseDuration) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.crds.only (not .Values.crds.enabled) -}}
{{- fail "crds.only installs nothing but the definitions, and crds.enabled: false leaves them out: set one of the two" -}}
{{- end -}}
{{- $measured := .Values.crds.only -}}
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- if and .metrics.serviceMonitor.enabled .metrics.podMonitor.enabled -}}
{{- fail (printf "metrics.serviceMonitor and metrics.podMonitor are both enabled for operators.%s: each pod would be counted twice; enable one" .key) -}}
{{- end -}}
{{- $measured = or $measured (include "ameide.measured" .) -}}
{{- end -}}
{{- range list "alerts" "dashboard" -}}
{{- if and (get $.Values .).enabled (not $measured) -}}
{{- fail (printf "%s.enabled needs the metrics of a monitor: enable metrics.serviceMonitor or metrics.podMonitor" .) -}}
{{- end -}}
{{- end -}}
{{- $alerts := include "ameide.alertNames" . | fromYamlArray -}}
{{- range .Values.alerts.disabled -}}
{{- if not (has . $alerts) -}}
{{- fail (printf "alerts.disabled names %s, which is no alert of this chart: use %s" . (join ", " $alerts)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.admission.imagePolicy -}}
{{- $rules := false -}}
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- $images := include "ameide.imageSettings" (dict "root" $ "operator" .) | fromYaml -}}
{{- $rules = or $rules $images.allowed $images.requireDigest $images.refuseLatest -}}
{{- end -}}
{{- if and (not $rules) (not .Values.crds.only) -}}
{{- fail "admission.imagePolicy has no rules to go by: set settings.images.allowed, requireDigest or refuseLatest" -}}
{{- end -}}
{{- end -}}
{{- $writers := .Values.admission.specWriters -}}
{{- if and $writers.enabled (not $writers.users) (not $writers.groups) -}}
{{- fail "admission.specWriters is enabled for nobody: name its users or groups, or nobody could change a spec" -}}
{{- end -}}
{{- if and .Values.watch.referencedNamespaces (not .Values.watch.namespaces) -}}
{{- fail "watch.referencedNamespaces adds to the namespaces that watch.namespaces lists, and it lists none: all are watched; leave it out" -}}
{{- end -}}
{{- $accounts := dict -}}
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- $key := .key -}}
{{- if and (not .serviceAccount.create) (not .serviceAccount.name) -}}
{{- fail (printf "operators.%s.serviceAccount is neither created nor named: its rights would go to the account default, which every pod of the namespace has; name one" $key) -}}
{{- end -}}
{{- with get $accounts .serviceAccountName -}}
{{- fail (printf "operators.%s and operators.%s share a ServiceAccount: each would have the other's rights; give each a serviceAccount.name of its own" . $key) -}}
{{- end -}}
{{- $_ := set $accounts .serviceAccountName $key -}}
{{- $volumes := list -}}
{{- range .volumes -}}
{{- $volumes = append $volumes .name -}}
{{- if has .name (list "settings" "tmp") -}}
{{- fail (printf "operators.%s.volumes: the name %s is the chart's own; choose another" $key .name) -}}
{{- end -}}
{{- end -}}
{{- range .volumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "operators.%s.volumeMounts names the volume %s, which is not among its volumes (%s)" $key .name (join ", " $volumes)) -}}
{{- end -}}
{{- end -}}
{{- range .env -}}
{{- if has .name (list "AMEIDE_SETTINGS_FILE" "POD_NAME" "POD_NAMESPACE") -}}
{{- fail (printf "operators.%s.env: %s is set by the chart; leave it out" $key .name) -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := .podLabels -}}
{{- if has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance") -}}
{{- fail (printf "operators.%s.podLabels: the Deployment selects its pods by %s; leave it out" $key $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
