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
{{- if and .Values.crds.only (not .Values.crds.enabled) -}}
{{- fail "crds.only installs nothing but the definitions, and crds.enabled: false leaves them out: set one of the two" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: each pod would be counted twice; enable one" -}}
{{- end -}}
{{- $measured := or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
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
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- $key := .key -}}
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
