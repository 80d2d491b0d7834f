{{- /* Names and labels. */ -}}
{{- define "ameide.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "ameide.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "ameide.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ameide.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels by which an operator's pods are selected: root, operator. They never change. */ -}}
{{- define "ameide.selectorLabels" -}}
app.kubernetes.io/name: {{ .operator.key }}-operator
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- /* Labels of every object: root, operator (absent on what belongs to no operator). */ -}}
{{- define "ameide.labels" -}}
{{- if .operator -}}
{{ include "ameide.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- else -}}
app.kubernetes.io/name: {{ include "ameide.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}
app.kubernetes.io/part-of: ameide
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Metadata of an object: root, operator, name; optional: namespace, clusterScoped, extraLabels, annotations. */ -}}
{{- define "ameide.metadata" -}}
name: {{ .name }}
{{- if not .clusterScoped }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "ameide.labels" . | nindent 2 }}
  {{- with .extraLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
The enabled operators as a YAML list, each its own values over `defaults`, with what follows from them:
key (domain), name (of its objects) and serviceAccountName. Every template ranges over this list, so that
another operator is one block in the values and one file of rules.
*/ -}}
{{- define "ameide.operators" -}}
{{- $operators := list -}}
{{- range $key, $values := .Values.operators -}}
{{- if and $values.enabled (not $.Values.crds.only) -}}
{{- $operator := mergeOverwrite (deepCopy $.Values.defaults) (deepCopy $values) -}}
{{- $name := printf "%s-%s" (include "ameide.fullname" $) $key -}}
{{- $_ := set $operator "key" $key -}}
{{- $_ := set $operator "name" $name -}}
{{- /* What is said for all operators together, unless the operator's own block says otherwise. */ -}}
{{- range $shared := list "metrics" "networkPolicy" -}}
{{- $_ := set $operator $shared (mergeOverwrite (deepCopy (get $.Values $shared)) (deepCopy (get $values $shared | default dict))) -}}
{{- end -}}
{{- $_ := set $operator "serviceAccountName" ($operator.serviceAccount.name | default (ternary $name "default" $operator.serviceAccount.create)) -}}
{{- $operators = append $operators $operator -}}
{{- end -}}
{{- end -}}
{{- toYaml $operators -}}
{{- end -}}

{{- /* "true" where a monitor reads the metrics of this operator of the list above, else nothing. */ -}}
{{- define "ameide.measured" -}}
{{- if or .metrics.serviceMonitor.enabled .metrics.podMonitor.enabled }}true{{ end -}}
{{- end -}}

{{- /* The image of an operator: root, operator. A digest comes before a tag. */ -}}
{{- define "ameide.image" -}}
{{- $image := .operator.image -}}
{{- $registry := $image.registry | default (.root.Values.global | default dict).imageRegistry | default .root.Values.image.registry -}}
{{- $repository := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* The pull Secrets of an operator's pods, as a YAML list of names: root, operator. */ -}}
{{- define "ameide.pullSecrets" -}}
{{- $names := concat .root.Values.image.pullSecrets (.operator.image.pullSecrets | default list) -}}
{{- range (.root.Values.global | default dict).imagePullSecrets -}}
{{- $names = append $names (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .)) -}}
{{- end -}}
{{- toYaml (uniq $names) -}}
{{- end -}}

{{- /* The settings file of an operator: root, operator. What the chart itself has to know is set from its values. */ -}}
{{- define "ameide.settings" -}}
{{- $root := .root -}}
{{- $settings := mergeOverwrite (deepCopy $root.Values.settings) (deepCopy (.operator.settings | default dict)) -}}
{{- range $owned, $instead := dict "watch" "watch.namespaces and watch.excludeNamespaces" "http" "the chart's own port" "leaderElection" "leaderElection of defaults or of an operator" "networkProfiles" "the value networkProfiles" -}}
{{- if hasKey $settings $owned -}}
{{- fail (printf "settings.%s is set by the chart: use %s" $owned $instead) -}}
{{- end -}}
{{- end -}}
{{- $watch := dict -}}
{{- with $root.Values.watch.namespaces -}}{{- $_ := set $watch "namespaces" . -}}{{- end -}}
{{- with $root.Values.watch.referencedNamespaces -}}{{- $_ := set $watch "referenced" . -}}{{- end -}}
{{- with $root.Values.watch.excludeNamespaces -}}{{- $_ := set $watch "exclude" . -}}{{- end -}}
{{- with $watch -}}{{- $_ := set $settings "watch" . -}}{{- end -}}
{{- with $root.Values.networkProfiles -}}{{- $_ := set $settings "networkProfiles" . -}}{{- end -}}
{{- $lease := dict "namespace" $root.Release.Namespace "name" .operator.name -}}
{{- $_ := set $settings "leaderElection" (mergeOverwrite (deepCopy .operator.leaderElection) $lease) -}}
{{- toYaml $settings -}}
{{- end -}}
