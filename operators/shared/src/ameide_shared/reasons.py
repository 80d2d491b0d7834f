"""Every reason that a condition, blocker or Event may carry, each with its cause and remedy.

The enum is API: programs compare these names. The catalogue in the docs is generated from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """CamelCase reasons, one per distinguishable cause."""

    # Good news
    AllResourcesHealthy = "AllResourcesHealthy"
    AsExpected = "AsExpected"
    Converging = "Converging"
    Available = "Available"
    NotRequired = "NotRequired"
    DatabaseReady = "DatabaseReady"
    MigrationComplete = "MigrationComplete"
    MigrationSkipped = "MigrationSkipped"
    Deleting = "Deleting"
    Paused = "Paused"

    # Waits and refusals common to all kinds
    Blocked = "Blocked"
    InvalidSpec = "InvalidSpec"
    InvalidAnnotation = "InvalidAnnotation"
    ImageNotAllowed = "ImageNotAllowed"
    ImageNotFound = "ImageNotFound"
    RegistryUnavailable = "RegistryUnavailable"
    TenantMismatch = "TenantMismatch"
    TenantLabelMissing = "TenantLabelMissing"
    ReferenceNotPermitted = "ReferenceNotPermitted"
    ServiceAccountNotPermitted = "ServiceAccountNotPermitted"
    ChildConflict = "ChildConflict"
    APINotInstalled = "APINotInstalled"
    ApplyFailed = "ApplyFailed"
    QuotaExceeded = "QuotaExceeded"
    ReconcileTimeout = "ReconcileTimeout"
    InternalError = "InternalError"

    # Workload
    DeploymentNotReady = "DeploymentNotReady"
    RolloutInProgress = "RolloutInProgress"
    CanaryInProgress = "CanaryInProgress"
    CanaryFailed = "CanaryFailed"
    ScaledToZero = "ScaledToZero"

    # Domain
    ClusterNotFound = "ClusterNotFound"
    ClusterNotReady = "ClusterNotReady"
    DatabaseConflict = "DatabaseConflict"
    DatabaseNameTaken = "DatabaseNameTaken"
    DatabaseProvisioning = "DatabaseProvisioning"
    DatabaseRefused = "DatabaseRefused"
    SuperuserAccessDisabled = "SuperuserAccessDisabled"
    SecretNotFound = "SecretNotFound"
    SecretKeyMissing = "SecretKeyMissing"
    PasswordRotating = "PasswordRotating"
    MigrationRunning = "MigrationRunning"
    MigrationPending = "MigrationPending"
    MigrationFailed = "MigrationFailed"
    NoFailure = "NoFailure"
    ProtoMismatch = "ProtoMismatch"
    DeletionBlocked = "DeletionBlocked"
    DataRetained = "DataRetained"
    DataLeftBehind = "DataLeftBehind"

    # Process
    DefinitionReady = "DefinitionReady"
    DefinitionFetching = "DefinitionFetching"
    DefinitionNotFound = "DefinitionNotFound"
    DefinitionInvalid = "DefinitionInvalid"
    DefinitionMismatch = "DefinitionMismatch"
    DefinitionTooLarge = "DefinitionTooLarge"
    TransformationUnavailable = "TransformationUnavailable"
    TransformationRefused = "TransformationRefused"
    DependenciesReady = "DependenciesReady"
    DependencyNotFound = "DependencyNotFound"
    DependencyNotReady = "DependencyNotReady"
    TemporalReady = "TemporalReady"
    TemporalChecking = "TemporalChecking"
    TemporalUnreachable = "TemporalUnreachable"
    TemporalDenied = "TemporalDenied"
    TemporalConnectionUnknown = "TemporalConnectionUnknown"
    NamespaceNotFound = "NamespaceNotFound"
    NamespaceDeleted = "NamespaceDeleted"
    NamespaceNotPermitted = "NamespaceNotPermitted"
    NamespaceRegistering = "NamespaceRegistering"
    TaskQueueConflict = "TaskQueueConflict"
    WorkersPolling = "WorkersPolling"
    WorkersNotPolling = "WorkersNotPolling"
    WorkflowsLeftBehind = "WorkflowsLeftBehind"

    # Agent
    PolicyCompliant = "PolicyCompliant"
    PolicyViolation = "PolicyViolation"
    PolicyNotLoaded = "PolicyNotLoaded"
    PolicyInvalid = "PolicyInvalid"
    Quarantined = "Quarantined"
    ToolsNotDeclared = "ToolsNotDeclared"
    SecretsReady = "SecretsReady"
    SecretsSyncing = "SecretsSyncing"
    SecretNotSynced = "SecretNotSynced"
    SecretStoreNotConfigured = "SecretStoreNotConfigured"
    GrantsReady = "GrantsReady"
    GrantsServiceUnavailable = "GrantsServiceUnavailable"
    GrantsServiceRefused = "GrantsServiceRefused"
    GrantsLeftBehind = "GrantsLeftBehind"
    RuntimeReady = "RuntimeReady"
    RuntimeOutdated = "RuntimeOutdated"

    # UISurface
    RouteAccepted = "RouteAccepted"
    RoutePending = "RoutePending"
    RouteRejected = "RouteRejected"
    RouteConflict = "RouteConflict"
    HostNotPermitted = "HostNotPermitted"
    AuthConfigured = "AuthConfigured"
    AuthPending = "AuthPending"
    AuthPolicyRejected = "AuthPolicyRejected"
    AuthModeNotSupported = "AuthModeNotSupported"
    KeycloakConnectionUnknown = "KeycloakConnectionUnknown"
    KeycloakUnavailable = "KeycloakUnavailable"
    KeycloakRefused = "KeycloakRefused"
    ClientConflict = "ClientConflict"
    ScopeNotFound = "ScopeNotFound"
    ClientLeftBehind = "ClientLeftBehind"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a reason appears and what to do about it (empty: nothing), for the docs and `explain`; in Markdown."""

    cause: str
    remedy: str


CATALOGUE: Final[Mapping[Reason, Explanation]] = {
    Reason.AllResourcesHealthy: Explanation(
        "Everything that the spec asks for is there and well.",
        "",
    ),
    Reason.AsExpected: Explanation(
        "Nothing is wrong or under way in this respect.",
        "",
    ),
    Reason.Converging: Explanation(
        "The operator is bringing the resource to what its spec says.",
        "Wait; the blocker names what it waits for.",
    ),
    Reason.Available: Explanation(
        "The Deployment has rolled out, and as many pods as asked for are available.",
        "",
    ),
    Reason.NotRequired: Explanation(
        "The spec does not ask for this part.",
        "",
    ),
    Reason.DatabaseReady: Explanation(
        "Roles, database and schema are there, and the connection Secret matches them.",
        "",
    ),
    Reason.MigrationComplete: Explanation(
        "The migration of the wanted image has succeeded.",
        "",
    ),
    Reason.MigrationSkipped: Explanation(
        "The image was migrated for before, and `spec.db.migrations.onRollback` is `Skip`.",
        "Set `onRollback: Run` if this image's migrator shall run again.",
    ),
    Reason.Deleting: Explanation(
        "The resource is being deleted; what it made outside its namespace is cleaned up first.",
        "Wait; the message names the step.",
    ),
    Reason.Paused: Explanation(
        "The annotation `ameide.io/paused` is `true`: only status is written.",
        "Remove the annotation to go on.",
    ),
    Reason.Blocked: Explanation(
        "An earlier stage is not done, so that this one cannot be judged yet.",
        "See the earlier stage; the message names it.",
    ),
    Reason.InvalidSpec: Explanation(
        "The spec breaks a rule, or names a profile that the operator's settings do not have.",
        "Mend the fields that the message names; `check -f` judges a manifest before it is applied.",
    ),
    Reason.InvalidAnnotation: Explanation(
        "An annotation of `ameide.io` has a value that is not understood, and has no effect.",
        "Set it to a value that the message names, or remove it.",
    ),
    Reason.ImageNotAllowed: Explanation(
        "The operator's image settings refuse an image: its repository, a missing digest, or the tag `latest`.",
        "Use an image that the settings allow, or have them changed "
        "(`images.allowed`, `images.requireDigest`, `images.refuseLatest`).",
    ),
    Reason.ImageNotFound: Explanation(
        "The registry says that there is no such image.",
        "Push the image, or name one that exists.",
    ),
    Reason.RegistryUnavailable: Explanation(
        "The registry could not be asked whether the image exists.",
        "The check is repeated; to do without it, set `images.registryCheck.enabled: false`.",
    ),
    Reason.TenantMismatch: Explanation(
        "The resource names a tenant other than the one that its namespace belongs to.",
        "Correct the tenant in the spec, or move the resource to a namespace of that tenant.",
    ),
    Reason.TenantLabelMissing: Explanation(
        "The namespace has no label `ameide.io/tenant-id`.",
        "Label the namespace, or set `tenancy.requireLabel: false` in the operator's settings.",
    ),
    Reason.ReferenceNotPermitted: Explanation(
        "An object in another namespace has not consented to being referred to from here.",
        "Annotate that object with `ameide.io/allowed-namespaces`, or allow it in the settings (`references.allowed`).",
    ),
    Reason.ServiceAccountNotPermitted: Explanation(
        "The named ServiceAccount belongs to somebody else, who has not consented to its use.",
        'Annotate it with `ameide.io/allow-use: "true"`, or name another one.',
    ),
    Reason.ChildConflict: Explanation(
        "An object of the name that a child would have exists and is not ours; it is not taken over.",
        "Rename or delete that object, or rename the resource.",
    ),
    Reason.APINotInstalled: Explanation(
        "The cluster does not have an API that the spec needs.",
        "Install what serves it, or change the spec so that it is not needed; the operator notices by itself.",
    ),
    Reason.ApplyFailed: Explanation(
        "The API server, or an admission policy, refused a child, or to tell the operator of something.",
        "Mend what the message names; a refusal for missing rights is mended in the operator's RBAC. That a policy was "
        "lifted is noticed within a minute.",
    ),
    Reason.QuotaExceeded: Explanation(
        "A ResourceQuota of the namespace leaves no room.",
        "Raise the quota, or ask for less.",
    ),
    Reason.ReconcileTimeout: Explanation(
        "One reconcile took longer than `reconcileTimeout`.",
        "It is repeated; if it stays, look at the API server's and the operator's latencies.",
    ),
    Reason.InternalError: Explanation(
        "The operator met an error of its own.",
        "See its log by the reconcile id, and report it to its maintainers; it is tried again.",
    ),
    Reason.DeploymentNotReady: Explanation(
        "Pods of the Deployment are not ready; the message has the cause that their state shows.",
        "Do what the remedy says; it depends on the cause (image, crash, memory, scheduling, probe, quota).",
    ),
    Reason.RolloutInProgress: Explanation(
        "The Deployment is moving to a new revision, or to another number of pods.",
        "Wait; if it does not end, `DeploymentNotReady` will say why.",
    ),
    Reason.CanaryInProgress: Explanation(
        "A canary of the new revision is running; the current revision serves beside it.",
        "Wait for `spec.rollout.canaryReadySeconds`; the message has its progress.",
    ),
    Reason.CanaryFailed: Explanation(
        "The canary of the new revision failed and was removed; the current revision goes on serving.",
        "Mend the image or the spec: any change of the pod template starts a new canary.",
    ),
    Reason.ScaledToZero: Explanation(
        "Zero replicas are asked for, and none run.",
        "",
    ),
    Reason.ClusterNotFound: Explanation(
        "`spec.db.clusterRef` names a CloudNativePG Cluster that does not exist.",
        "Create the Cluster, or create the Domain anew with the right reference.",
    ),
    Reason.ClusterNotReady: Explanation(
        "The CloudNativePG Cluster is not Ready; pods that run already are left alone.",
        "See the Cluster's own status.",
    ),
    Reason.DatabaseConflict: Explanation(
        "Another Domain holds the database, schema or role.",
        "Choose other names, or delete the holder with `deletionPolicy: Delete`.",
    ),
    Reason.DatabaseNameTaken: Explanation(
        "The database or role exists and belongs to somebody else than a Domain; it is not taken over.",
        "Choose another name; or free this one, and set the annotation `ameide.io/retry-migration` to a new value.",
    ),
    Reason.DatabaseProvisioning: Explanation(
        "It is looked whether the names are free, or roles, database, schema or connection Secret are being made.",
        "Wait; the message names the object.",
    ),
    Reason.DatabaseRefused: Explanation(
        "CloudNativePG, or the provisioning Job, could not make a role, database or schema.",
        "Mend what the message quotes; CloudNativePG tries again by itself, a Job by `ameide.io/retry-migration`.",
    ),
    Reason.SuperuserAccessDisabled: Explanation(
        "`spec.db.provisioning: Job` needs the superuser's Secret, which the Cluster does not have.",
        "Set `spec.enableSuperuserAccess: true` on the Cluster, or use `provisioning: Database`.",
    ),
    Reason.SecretNotFound: Explanation(
        "A Secret that the spec names, or that is to be copied from, does not exist.",
        "Create it, or wait for what creates it.",
    ),
    Reason.SecretKeyMissing: Explanation(
        "A Secret that the spec names lacks keys that containers read.",
        "Add the keys that the message names.",
    ),
    Reason.PasswordRotating: Explanation(
        "The database has yet to take over a new password; pods keep the old one until then.",
        "Wait; the connection Secret follows, and pods roll.",
    ),
    Reason.MigrationRunning: Explanation(
        "The migration Job of the wanted image is running; the old revision serves meanwhile.",
        "Wait; `spec.db.migrations.timeoutSeconds` bounds it.",
    ),
    Reason.MigrationPending: Explanation(
        "Another migration of the same schema is still running.",
        "Wait for it; two never run together.",
    ),
    Reason.MigrationFailed: Explanation(
        "The migration Job failed for good; the old revision goes on serving.",
        "Mend the migration and change `spec.image` or `spec.db.migrationJobImage`, "
        "or set `ameide.io/retry-migration` to a new value.",
    ),
    Reason.NoFailure: Explanation(
        "No migration has failed since the last success.",
        "",
    ),
    Reason.ProtoMismatch: Explanation(
        "The image's labels name another Protobuf contract than `spec.proto`.",
        "Name the image that was built for this contract, or correct `spec.proto`.",
    ),
    Reason.DeletionBlocked: Explanation(
        "Deletion waits for something that cannot be cleaned up yet.",
        "Mend what the message names; after `deletionTimeout` it is left behind and named in an Event.",
    ),
    Reason.DataRetained: Explanation(
        "The Domain is gone; its database, schema and roles stay, as `deletionPolicy: Retain` says.",
        "A Domain of the same namespace and name takes them up again.",
    ),
    Reason.DataLeftBehind: Explanation(
        "The Domain is gone, but data that should have been dropped could not be.",
        "Drop by hand what the message names.",
    ),
    Reason.DefinitionReady: Explanation(
        "The definition was fetched and compiled, and workers have it.",
        "",
    ),
    Reason.DefinitionFetching: Explanation(
        "The definition has yet to be fetched from the Transformation service.",
        "Wait; if it does not come, the reason will say why.",
    ),
    Reason.DefinitionNotFound: Explanation(
        "The Transformation service has no such definition, or not in the pinned version.",
        "Correct `spec.definitionRef`, or publish the definition; what runs already goes on.",
    ),
    Reason.DefinitionInvalid: Explanation(
        "The definition is not one that can be run; every fault is named with the id of its element.",
        "Mend the definition and publish a new version; it is noticed by itself. What runs already goes on.",
    ),
    Reason.DefinitionMismatch: Explanation(
        "What the Transformation service has is not what `spec.definitionRef` pins by version or checksum.",
        "Correct the pin, or publish what it names.",
    ),
    Reason.DefinitionTooLarge: Explanation(
        "The compiled definition does not fit into a ConfigMap.",
        "Split the process: move parts into processes of their own, called by call activities.",
    ),
    Reason.TransformationUnavailable: Explanation(
        "The Transformation service cannot be reached; a definition that was fetched before goes on being served.",
        "It is tried again by itself; see the service, and `transformation.url` in the operator's settings.",
    ),
    Reason.TransformationRefused: Explanation(
        "The Transformation service refuses the operator's token.",
        "Renew the token in the file that `transformation.tokenFile` names; a new one is used at once.",
    ),
    Reason.DependenciesReady: Explanation(
        "Everything that the spec says it depends on is there and Ready.",
        "",
    ),
    Reason.DependencyNotFound: Explanation(
        "A resource that `spec.dependencies` names does not exist.",
        "Create it, or correct the name; its coming is noticed at once.",
    ),
    Reason.DependencyNotReady: Explanation(
        "A resource that `spec.dependencies` names is not Ready. It holds back the first start only.",
        "See that resource's own status.",
    ),
    Reason.TemporalReady: Explanation(
        "Temporal answers, and the namespace is there.",
        "",
    ),
    Reason.TemporalChecking: Explanation(
        "Temporal has yet to be asked.",
        "Wait; the first look is under way.",
    ),
    Reason.TemporalUnreachable: Explanation(
        "Temporal does not answer; workers are left alone.",
        "It is tried again by itself; see the server, and the connection in the operator's settings.",
    ),
    Reason.TemporalDenied: Explanation(
        "Temporal refuses the operator's credentials, or their files cannot be used.",
        "Mend the credentials of the connection in the operator's settings.",
    ),
    Reason.TemporalConnectionUnknown: Explanation(
        "The operator's settings have no connection of the name in `spec.temporal.connection`.",
        "Use one that there is, or have it added to `temporal.connections`.",
    ),
    Reason.NamespaceNotFound: Explanation(
        "Temporal has no such namespace.",
        "Create it, or have the operator do so: `registerNamespaces` of the connection in the settings.",
    ),
    Reason.NamespaceDeleted: Explanation(
        "The namespace in Temporal is deleted; its workflows are gone or going.",
        "Create it anew under this name once Temporal has removed it, or create a Process for another one.",
    ),
    Reason.NamespaceNotPermitted: Explanation(
        "The settings do not let this tenant use that namespace in Temporal.",
        "Use one that the tenant may use, or have the connection's `namespaces` changed.",
    ),
    Reason.NamespaceRegistering: Explanation(
        "The namespace is being registered in Temporal.",
        "Wait; it takes some seconds until all of the server knows it.",
    ),
    Reason.TaskQueueConflict: Explanation(
        "Another, older Process has this task queue; two sets of workers would take each other's tasks.",
        "Choose another task queue, or delete the other Process.",
    ),
    Reason.WorkersPolling: Explanation(
        "Workers ask the task queue for work.",
        "",
    ),
    Reason.WorkersNotPolling: Explanation(
        "Pods are ready, but Temporal has not heard of them on the task queue.",
        "See the workers' logs: address, namespace and queue they connect to, and whether the network lets them.",
    ),
    Reason.WorkflowsLeftBehind: Explanation(
        "The Process is gone, but workflows are still open on its task queue.",
        "Terminate them by hand, or create a Process for the same queue that finishes them.",
    ),
    Reason.PolicyCompliant: Explanation(
        "The policy allows the Agent as it is.",
        "",
    ),
    Reason.PolicyViolation: Explanation(
        "The Agent breaks rules of the policy; each is named with its path in the document. What ran before goes on, "
        "unless the policy quarantines it.",
        "Do what the message says of each rule: change the Agent, or have the policy changed. `agent-operator check` "
        "judges a manifest before it is applied.",
    ),
    Reason.PolicyNotLoaded: Explanation(
        "The operator has no usable policy, so that nothing may be released. What runs goes on.",
        "Put a valid policy where `policy.file` of the operator's settings says; it is noticed by itself.",
    ),
    Reason.PolicyInvalid: Explanation(
        "The policy's file has been changed to something that is no valid policy; the one before it stays in force.",
        "Mend the policy's text; the message names its faults.",
    ),
    Reason.Quarantined: Explanation(
        "The policy was tightened, forbids what runs, and says that such Agents are cut off: no egress, no grants, "
        "no pods.",
        "Mend the Agent or the policy; the Agent comes back by itself.",
    ),
    Reason.ToolsNotDeclared: Explanation(
        "The agent definition needs tools that `spec.tools.allowed` does not name.",
        "Add them to the spec, if the policy allows them, or publish a definition that does without.",
    ),
    Reason.SecretsReady: Explanation(
        "Every credential of the model and of the tools is there, with all its keys.",
        "",
    ),
    Reason.SecretsSyncing: Explanation(
        "Credentials are being fetched from the secret store.",
        "Wait; if they do not come, the reason will say why.",
    ),
    Reason.SecretNotSynced: Explanation(
        "external-secrets cannot fetch a credential from the secret store.",
        "Mend what the message quotes: the entry in the store, or the store's own access.",
    ),
    Reason.SecretStoreNotConfigured: Explanation(
        "The policy wants a credential from the secret store, and the operator's settings name none.",
        "Set `secretStore.name` in the settings, or have the policy name a Secret (`secretName`).",
    ),
    Reason.GrantsReady: Explanation(
        "The grants of the Agent are written, and known to the grants service where there is one.",
        "",
    ),
    Reason.GrantsServiceUnavailable: Explanation(
        "The grants service does not answer.",
        "It is tried again by itself; see the service, and `grantsService.url` in the operator's settings.",
    ),
    Reason.GrantsServiceRefused: Explanation(
        "The grants service refuses the operator's request.",
        "Mend what the message quotes: the token in `grantsService.tokenFile`, or the service's own rules.",
    ),
    Reason.GrantsLeftBehind: Explanation(
        "The Agent is gone, but its grants could not be taken back from the grants service.",
        "Revoke by hand what the message names.",
    ),
    Reason.RuntimeReady: Explanation(
        "All ready pods run the definition and the grants that are wanted.",
        "",
    ),
    Reason.RuntimeOutdated: Explanation(
        "Some pods still run an older definition or older grants.",
        "Wait for the rollout; `WorkloadReady` says how far it is.",
    ),
    Reason.RouteAccepted: Explanation(
        "The gateway, or the ingress controller, serves the route.",
        "",
    ),
    Reason.RoutePending: Explanation(
        "The route is being made, or nobody serves it yet.",
        "Wait; if it stays, see that the Gateway, listener or ingress class of the operator's settings exists.",
    ),
    Reason.RouteRejected: Explanation(
        "The gateway refuses the route; the message quotes it.",
        "Mend what the message names: the Gateway's listeners and allowed routes, or `spec.host`.",
    ),
    Reason.RouteConflict: Explanation(
        "Another UISurface had the host, or the host and path, before this one.",
        "Choose another host or path, or delete the other one; this one takes over by itself.",
    ),
    Reason.HostNotPermitted: Explanation(
        "The operator's settings bind the host to other namespaces.",
        "Choose another host, or have `routing.hosts` of the settings changed.",
    ),
    Reason.AuthConfigured: Explanation(
        "The client in Keycloak, its Secret and, with a gateway, its policy are in place.",
        "",
    ),
    Reason.AuthPending: Explanation(
        "The client in Keycloak, its Secret or the gateway's policy is being made.",
        "Wait; the message names what is missing.",
    ),
    Reason.AuthPolicyRejected: Explanation(
        "Envoy Gateway refuses the SecurityPolicy; requests are answered with 500 until it is mended.",
        "Mend what the message quotes; most often it is the issuer or an endpoint of the Keycloak connection.",
    ),
    Reason.AuthModeNotSupported: Explanation(
        "An Ingress cannot log users in: only `Application` and `public` go with it.",
        "Set `spec.auth.mode: Application`, or have `routing.kind: HTTPRoute` set in the settings.",
    ),
    Reason.KeycloakConnectionUnknown: Explanation(
        "The operator's settings have no Keycloak connection of the name in `spec.auth.connection` for this namespace.",
        "Use one that there is, or have it added to `keycloak.connections`.",
    ),
    Reason.KeycloakUnavailable: Explanation(
        "Keycloak does not answer; what is set up goes on working as far as Keycloak lets it.",
        "It is tried again by itself; see the server, and the connection in the operator's settings.",
    ),
    Reason.KeycloakRefused: Explanation(
        "Keycloak has no such realm, or refuses the operator's service account.",
        "Mend the connection in the operator's settings, or give its service account the roles in the docs.",
    ),
    Reason.ClientConflict: Explanation(
        "A client, scope or role of the wanted name exists in Keycloak and is not ours; it is not touched.",
        "Do what the message says: rename or delete it, or list it in the settings.",
    ),
    Reason.ScopeNotFound: Explanation(
        "A client scope that settings name is not in the realm.",
        "Create it in the realm, or correct `keycloak.baseScopes` or `keycloak.existingScopes`.",
    ),
    Reason.ClientLeftBehind: Explanation(
        "The UISurface is gone, but its client in Keycloak could not be removed.",
        "Delete the client by hand, or create a UISurface of the same namespace and name, which takes it over.",
    ),
}
