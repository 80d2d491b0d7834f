{{- /*
What the Agent operator may do, each rule with its reason, in four sets that templates/rbac.yaml binds:
watched      in the namespaces of Agents
referenced   in those that Agents only refer to, where their tools are; `watched` has all of it
outside      in namespaces referred to, on top of either
cluster      what is in no namespace, only where rbac.scope is cluster
It writes no Secrets: external-secrets does. RBAC knows no labels, so reading the credentials of Agents is reading every
Secret of their namespaces; the operator asks for those with its label, and by name for those that the policy names.
*/ -}}
{{- define "ameide.rules.agent.watched" -}}
# Agents: read them; hold them by a finalizer.
- apiGroups: [ameide.io]
  resources: [agents]
  verbs: [list, watch, patch]
# Report their state.
- apiGroups: [ameide.io]
  resources: [agents/status]
  verbs: [patch]
# Children that block their owner's deletion, where the OwnerReferencesPermissionEnforcement admission plugin is on.
- apiGroups: [ameide.io]
  resources: [agents/finalizers]
  verbs: [update]
# Tools, besides Agents: read only.
- apiGroups: [ameide.io]
  resources: [domains, processes]
  verbs: [list, watch]
# Credentials: whether they are there with their keys, and that pods roll when one is rotated. Never written.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
# Where external-secrets is to bring them from.
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [get, list, watch, create, patch, delete]
# The other children of an Agent: write them, see them drift, remove those that are no longer wanted.
- apiGroups: [""]
  resources: [serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
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
# Why the runtime is not ready: the pods' own words.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Events, one for each transition, counted up when it comes again.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "ameide.rules.agent.outside" -}}
{{- end -}}

{{- define "ameide.rules.agent.referenced" -}}
# Every namespace is watched for the same kinds; these are only read here, and Agents in it are left alone.
- apiGroups: [ameide.io]
  resources: [agents, domains, processes]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods, services, serviceaccounts, configmaps, secrets]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
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

{{- define "ameide.rules.agent.cluster" -}}
# Which optional APIs are installed; one installed later is noticed.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
# Labels of tenants and SKUs, and which namespaces the watched globs mean.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end -}}
