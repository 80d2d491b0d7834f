{{- /*
What the Domain operator may do, each rule with its reason, in four sets that templates/rbac.yaml binds:
watched      in the namespaces of Domains
referenced   in those that Domains only refer to, where the database clusters are; `watched` has all of it
outside      in namespaces referred to, on top of either
cluster      what is in no namespace, only where rbac.scope is cluster
*/ -}}
{{- define "ameide.rules.domain.watched" -}}
# Domains: read them; hold them by a finalizer.
- apiGroups: [ameide.io]
  resources: [domains]
  verbs: [list, watch, patch]
# Report their state.
- apiGroups: [ameide.io]
  resources: [domains/status]
  verbs: [patch]
# Children that block their owner's deletion, where the OwnerReferencesPermissionEnforcement admission plugin is on.
- apiGroups: [ameide.io]
  resources: [domains/finalizers]
  verbs: [update]
# The children of a Domain: write them, see them drift, remove those that are no longer wanted.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
# The connection Secrets, and the Secrets that connectionSecretRef names. Rights on Secrets cannot be narrowed by
# label: whoever holds this token reads every Secret in these namespaces. Only rbac.scope: namespace limits that.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Database clusters, databases and roles in these namespaces: read only, `outside` below adds the rest.
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [list, watch]
- apiGroups: [postgresql.cnpg.io]
  resources: [databases, databaseroles]
  verbs: [get, list, watch]
# Jobs are made, and removed; what runs is never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Children that go with their owner, and never before it.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
# Why a workload is not ready: the pods' own words.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The last lines of a failed migration.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# The ExternalSecret that connectionSecretRef names.
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [get]
# Events, one for each transition, counted up when it comes again.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "ameide.rules.domain.outside" -}}
# Roles and databases in the database clusters that clusterRef names; the clusters themselves are never written.
- apiGroups: [postgresql.cnpg.io]
  resources: [databases, databaseroles]
  verbs: [create, patch, delete]
{{- end -}}

{{- define "ameide.rules.domain.referenced" -}}
# The roles' password Secrets live beside their cluster; the cluster's own CA and superuser Secrets are read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# The one-shot Jobs that set up, and by policy drop, a schema in a shared database, and what they say when they fail.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Every namespace is watched for the same kinds; these are only read here, and Domains in it are left alone.
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [list, watch]
- apiGroups: [postgresql.cnpg.io]
  resources: [databases, databaseroles]
  verbs: [get, list, watch]
- apiGroups: [ameide.io]
  resources: [domains]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods, services, serviceaccounts]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [list, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
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

{{- define "ameide.rules.domain.cluster" -}}
# Which optional APIs are installed; one installed later is noticed.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
# Labels of tenants, annotations of consent, and which namespaces the watched globs mean.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end -}}
