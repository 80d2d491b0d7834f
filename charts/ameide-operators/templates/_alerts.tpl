{{- /*
The alerts as a YAML list: one for each thing that somebody has to look after, each with its runbook in docs/runbooks.
Series are told by namespace and job, the latter being `<operator>-operator` by the monitors' jobLabel; an operator
without a monitor has none. Braces of
Prometheus' own templates are doubled braces here, so they are printed.
*/ -}}
{{- define "ameide.alerts" -}}
{{- $jobs := list -}}
{{- range include "ameide.operators" . | fromYamlArray -}}
{{- if include "ameide.measured" . -}}
{{- $jobs = append $jobs (printf "%s-operator" .key) -}}
{{- end -}}
{{- end -}}
{{- $of := printf "namespace=%q,job=~%q" .Release.Namespace (join "|" $jobs) -}}
{{- range $jobs }}
- alert: AmeideOperatorAbsent
  severity: critical
  for: 5m
  expr: absent(leader_election_master_status{namespace={{ $.Release.Namespace | quote }},job={{ . | quote }}})
  summary: >-
    No {{ . }} is running
  description: >-
    Prometheus sees no replica of {{ . }} in namespace {{ $.Release.Namespace }}. What runs goes on running; nothing new
    is compiled, and nothing that drifts is mended.
{{- end }}
- alert: AmeideOperatorNoLeader
  severity: critical
  for: 2m
  expr: max by (job) (leader_election_master_status{ {{- $of -}} }) == 0
  summary: >-
    No replica of {{ "{{ $labels.job }}" }} leads
  description: >-
    Replicas of {{ "{{ $labels.job }}" }} are running, but none has the Lease, so none works.
- alert: AmeideOperatorTwoLeaders
  severity: critical
  for: 1m
  expr: sum by (job) (leader_election_master_status{ {{- $of -}} }) > 1
  summary: >-
    More than one replica of {{ "{{ $labels.job }}" }} leads
  description: >-
    {{ "{{ $value }}" }} replicas of {{ "{{ $labels.job }}" }} believe that they lead, and write against each other.
- alert: AmeideOperatorRestarting
  severity: warning
  for: 0m
  expr: sum by (job, pod) (changes(process_start_time_seconds{ {{- $of -}} }[30m])) > 2
  summary: >-
    {{ "{{ $labels.pod }}" }} keeps restarting
  description: >-
    {{ "{{ $labels.pod }}" }} was started {{ "{{ $value }}" }} times within 30 minutes.
- alert: AmeideReconcileErrors
  severity: warning
  for: 15m
  expr: >-
    sum by (job) (rate(controller_runtime_reconcile_errors_total{ {{- $of -}} }[10m]))
    / sum by (job) (rate(controller_runtime_reconcile_total{ {{- $of -}} }[10m])) > 0.1
  summary: >-
    More than a tenth of the reconciles of {{ "{{ $labels.job }}" }} fail
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the reconciles of {{ "{{ $labels.job }}" }} ended with an error; they are tried again, at growing intervals.
- alert: AmeideQueueNotKeepingUp
  severity: warning
  for: 15m
  expr: >-
    histogram_quantile(0.99, sum by (job, le) (rate(workqueue_queue_duration_seconds_bucket{ {{- $of -}} }[10m]))) > 30
    and on (job) max by (job) (workqueue_depth{ {{- $of -}} }) > 0
  summary: >-
    Changes wait long for {{ "{{ $labels.job }}" }}
  description: >-
    One in a hundred changes waits {{ "{{ $value | humanizeDuration }}" }} or more until {{ "{{ $labels.job }}" }} looks at it.
- alert: AmeideApiRequestsForbidden
  severity: warning
  for: 5m
  expr: sum by (job, method, resource) (rate(rest_client_requests_total{ {{- $of -}} ,code="403"}[10m])) > 0
  summary: >-
    {{ "{{ $labels.job }}" }} may not {{ "{{ $labels.method }}" }} {{ "{{ $labels.resource }}" }}
  description: >-
    The API server denies {{ "{{ $labels.job }}" }} requests that it needs. Resources that depend on them do not become Ready.
- alert: AmeideApiErrors
  severity: warning
  for: 15m
  expr: >-
    sum by (job) (rate(rest_client_requests_total{ {{- $of -}} ,code!~"[234].."}[10m]))
    / sum by (job) (rate(rest_client_requests_total{ {{- $of -}} }[10m])) > 0.05
  summary: >-
    The API server fails requests of {{ "{{ $labels.job }}" }}
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the requests of {{ "{{ $labels.job }}" }} had no answer, or one that says the server is in trouble.
- alert: AmeideWatchLostEvents
  severity: warning
  for: 0m
  expr: sum by (job, kind, finding) (increase(ameide_audit_findings_total{ {{- $of -}} }[1h])) > 0
  summary: >-
    A watch of {{ "{{ $labels.job }}" }} had lost something
  description: >-
    A comparison with the API server found {{ "{{ $labels.finding }}" }} objects of kind {{ "{{ $labels.kind }}" }} that the watch had not told
    of. The operator has mended its view; that it was needed should not happen.
- alert: AmeideResourceStalled
  severity: warning
  for: 10m
  expr: max by (kind) (ameide_objects{ {{- $of -}} ,condition="Stalled",status="True"}) > 0
  summary: >-
    Resources of kind {{ "{{ $labels.kind }}" }} are stalled
  description: >-
    {{ "{{ $value }}" }} resources of kind {{ "{{ $labels.kind }}" }} cannot become Ready by themselves; somebody has to change something.
- alert: AmeideResourceNotReady
  severity: warning
  for: 30m
  expr: max by (kind) (ameide_objects{ {{- $of -}} ,condition="Ready",status!="True"}) > 0
  summary: >-
    Resources of kind {{ "{{ $labels.kind }}" }} have not been Ready for half an hour
  description: >-
    All the time {{ "{{ $value }}" }} or another number of resources of kind {{ "{{ $labels.kind }}" }} were not Ready.
- alert: AmeideResourceDegraded
  severity: info
  for: 30m
  expr: max by (kind) (ameide_objects{ {{- $of -}} ,condition="Degraded",status="True"}) > 0
  summary: >-
    Resources of kind {{ "{{ $labels.kind }}" }} are degraded
  description: >-
    {{ "{{ $value }}" }} resources of kind {{ "{{ $labels.kind }}" }} serve less than was asked for, or something about them fails.
- alert: AmeideEventsDropped
  severity: info
  for: 0m
  expr: sum by (job) (increase(ameide_events_total{ {{- $of -}} ,result=~"dropped|failed"}[1h])) > 10
  summary: >-
    Kubernetes Events of {{ "{{ $labels.job }}" }} are lost
  description: >-
    {{ "{{ $value }}" }} Events within an hour were not written. Conditions tell the same, so nothing but the history suffers.
{{- if has "agent-operator" $jobs }}
- alert: AmeideAgentPolicyInvalid
  severity: critical
  for: 10m
  expr: max(ameide_agent_policy_valid{ {{- $of -}} }) == 0
  summary: >-
    The Agents' policy is missing or broken
  description: >-
    The policy's file is missing or cannot be read as a policy. The last sound one stays in force while the operator runs; without
    one no Agent is released.
- alert: AmeideAgentBreaksPolicy
  severity: warning
  for: 10m
  expr: sum by (tenant_id, risk_tier) (max by (tenant_id, risk_tier, ready) (ameide_agents{ {{- $of -}} ,violation="true"})) > 0
  summary: >-
    Agents of tenant {{ "{{ $labels.tenant_id }}" }} break the policy
  description: >-
    {{ "{{ $value }}" }} Agents of tier {{ "{{ $labels.risk_tier }}" }} of tenant {{ "{{ $labels.tenant_id }}" }} break the policy.
{{- end }}
{{- end -}}

{{- /* The names of all alerts there are, whichever operators are enabled, as a YAML list. */ -}}
{{- define "ameide.alertNames" -}}
- AmeideAgentBreaksPolicy
- AmeideAgentPolicyInvalid
- AmeideApiErrors
- AmeideApiRequestsForbidden
- AmeideEventsDropped
- AmeideOperatorAbsent
- AmeideOperatorNoLeader
- AmeideOperatorRestarting
- AmeideOperatorTwoLeaders
- AmeideQueueNotKeepingUp
- AmeideReconcileErrors
- AmeideResourceDegraded
- AmeideResourceNotReady
- AmeideResourceStalled
- AmeideWatchLostEvents
{{- end -}}
