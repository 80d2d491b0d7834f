{{- /*
What the UISurface operator may do, each rule with its reason, in four sets that templates/rbac.yaml binds:
watched      in the namespaces of UISurfaces
referenced   in those that UISurfaces only refer to, where what they call is; `watched` has all of it
outside      in namespaces referred to, on top of either
cluster      what is in no namespace, only where rbac.scope is cluster
RBAC knows no labels, so writing the Secrets of logins is a right to every Secret of their namespaces; the operator asks
for those with its label, and writes those that it owns.
*/ -}}
{{- define "ameide.rules.uisurface.watched" -}}
# UISurfaces: read them; hold them by a finalizer.
- apiGroups: [ameide.io]
  resources: [uisurfaces]
  verbs: [list, watch, patch]
# Report their state.
- apiGroups: [ameide.io]
  resources: [uisurfaces/status]
  verbs: [patch]
# Children that block their owner's deletion, where the OwnerReferencesPermissionEnforcement admission plugin is on.
- apiGroups: [ameide.io]
  resources: [uisurfaces/finalizers]
  verbs: [update]
# What surfaces depend on: read only.
- apiGroups: [ameide.io]
  resources: [domains, processes, agents]
  verbs: [list, watch]
# Secrets of clients in Keycloak: made, kept as Keycloak has them, and removed from surfaces that become public.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Routes, and the gateway's login before them.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.envoyproxy.io]
  resources: [securitypolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
# The other children of a UISurface: write them, see them drift, remove those that are no longer wanted.
- apiGroups: [""]
  resources: [serviceaccounts, configmaps]
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
# Children that go with their owner, and never before it.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
# Why the app is not ready: the pods' own words.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Events, one for each transition, counted up when it comes again.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "ameide.rules.uisurface.outside" -}}
{{- end -}}

{{- define "ameide.rules.uisurface.referenced" -}}
# Every namespace is watched for the same kinds; these are only read here, and UISurfaces in it are left alone.
- apiGroups: [ameide.io]
  resources: [uisurfaces, domains, processes, agents]
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
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [list, watch]
- apiGroups: [gateway.envoyproxy.io]
  resources: [securitypolicies]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [list, watch]
{{- end -}}

{{- define "ameide.rules.uisurface.cluster" -}}
# Which optional APIs are installed; one installed later is noticed.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
# Labels of tenants, and which namespaces the watched globs mean.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end -}}
