{{- /*
What the Process operator may do, each rule with its reason, in four sets that templates/rbac.yaml binds:
watched      in the namespaces of Processes
referenced   in those that Processes only refer to, where their Domains and Agents are; `watched` has all of it
outside      in namespaces referred to, on top of either
cluster      what is in no namespace, only where rbac.scope is cluster
It reads no Secrets at all.
*/ -}}
{{- define "ameide.rules.process.watched" -}}
# Processes: read them; hold them by a finalizer.
- apiGroups: [ameide.io]
  resources: [processes]
  verbs: [list, watch, patch]
# Report their state.
- apiGroups: [ameide.io]
  resources: [processes/status]
  verbs: [patch]
# Children that block their owner's deletion, where the OwnerReferencesPermissionEnforcement admission plugin is on.
- apiGroups: [ameide.io]
  resources: [processes/finalizers]
  verbs: [update]
# What Processes depend on: read only.
- apiGroups: [ameide.io]
  resources: [domains, agents]
  verbs: [list, watch]
# The children of a Process: write them, see them drift, remove those that are no longer wanted.
- apiGroups: [""]
  resources: [serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [temporal.io]
  resources: [workerdeployments, connections]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
# Children that go with their owner, and never before it.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
# Why workers are not ready: the pods' own words.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Events, one for each transition, counted up when it comes again.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "ameide.rules.process.outside" -}}
{{- end -}}

{{- define "ameide.rules.process.referenced" -}}
# Every namespace is watched for the same kinds; these are only read here, and Processes in it are left alone.
- apiGroups: [ameide.io]
  resources: [processes, domains, agents]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods, services, serviceaccounts, configmaps]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [list, watch]
- apiGroups: [temporal.io]
  resources: [workerdeployments, connections]
  verbs: [list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [list, watch]
{{- end -}}

{{- define "ameide.rules.process.cluster" -}}
# Which optional APIs are installed; one installed later is noticed.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
# Labels of tenants, and which namespaces the watched globs mean.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end -}}
