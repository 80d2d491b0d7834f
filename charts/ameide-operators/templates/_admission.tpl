{{- /*
Parts of the admission policies. CEL knows neither image references nor globs: a reference is brought to the form
`registry/repository/` and a pattern to a regular expression over that form.
*/ -}}

{{- /* The plural of an operator's kind in the API. */ -}}
{{- define "ameide.plural" -}}
{{- get (dict "domain" "domains" "process" "processes" "agent" "agents" "uisurface" "uisurfaces") . -}}
{{- end -}}

{{- /* CEL: a list of the images that a resource names; root: object or oldObject. Each kind has spec.image. */ -}}
{{- define "ameide.cel.images" -}}
{{- $spec := printf "%s.spec" .root -}}
[{{ $spec }}.?image.orValue('')]
{{- if eq .key "domain" }} + [{{ $spec }}.?db.?migrationJobImage.orValue('')]{{ end -}}
{{- end -}}

{{- /* CEL: what an image `i` is called without tag and digest, in full, with a slash at the end. */ -}}
{{- define "ameide.cel.imageName" -}}
[i.split('@')[0]]
.map(p, p.lastIndexOf(':') > p.lastIndexOf('/') ? p.substring(0, p.lastIndexOf(':')) : p)
.map(p, p.contains('/') && p.split('/')[0].matches('[.:A-Z]|^localhost$')
  ? p.split('/')[0].lowerAscii() + p.substring(p.indexOf('/')) : 'docker.io/' + p)
.map(p, p.startsWith('index.docker.io/') ? p.substring(6) : p)
.map(p, p.matches('^docker\\.io/[^/]+$') ? 'docker.io/library/' + p.substring(10) : p)[0] + '/'
{{- end -}}

{{- /* A regular expression over such names: `*` is (part of) one component, `**` any number of them. */ -}}
{{- define "ameide.imageRegex" -}}
{{- $parts := splitList "/" (trimSuffix "/" (trim .)) -}}
{{- if not (regexMatch "[*?\\[]" .) -}}
{{- $parts = append $parts "**" -}}
{{- end -}}
{{- range $parts -}}
{{- if eq . "**" -}}
(?:[^/]+/)*
{{- else -}}
{{- regexQuoteMeta . | replace "\\*" "[^/]*" | replace "\\?" "[^/]" | replace "\\[!" "[^" | replace "\\[" "[" | replace "\\]" "]" -}}/
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The image settings that an operator works by: root, operator; as YAML. */ -}}
{{- define "ameide.imageSettings" -}}
{{- $all := mergeOverwrite (deepCopy .root.Values.settings) (deepCopy (.operator.settings | default dict)) -}}
{{- toYaml ($all.images | default dict) -}}
{{- end -}}

{{- /* A policy and its binding share a name: root, name. It is the cluster's, so it has the release's namespace in it. */ -}}
{{- define "ameide.policyName" -}}
{{- printf "%s-%s-%s" .root.Release.Namespace (include "ameide.fullname" .root) .name -}}
{{- end -}}

{{- define "ameide.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "ameide.metadata" (dict "root" .root "name" .name "clusterScoped" true) | nindent 2 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- /* Where the release looks after named namespaces only, others are none of its business. */}}
  {{- $namespaces := .root.Values.watch.namespaces }}
  {{- if and $namespaces (not (regexMatch "[*?\\[\\]]" (join "" $namespaces))) }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson $namespaces }}}
  {{- end }}
{{- end -}}
