"""Go templates of the status that kwok gives to nodes and pods, as the kubelet would write it.

They use kwok's functions (Now, Quote, NodeConditions, NodeIP, NodePort, NodeIPsWith, PodIPsWith) and Sprig's. A
container is "affected" when the scenario (see `ameide_dev.stages`) is about it; its neighbours run undisturbed.
"""

SCENARIO_LABEL = "ameide.dev/scenario"

_CONDITION = '- {{type: {type}, status: "{status}", reason: "{reason}", lastTransitionTime: {{{{ Now | Quote }}}}}}\n'


def quoted(text: str) -> str:
    """`text` as a template that yields it as a quoted YAML scalar."""
    literal = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{{ "{literal}" | Quote }}}}'


def conditions(*, ready: bool) -> str:
    """Pod conditions; the scheduler's PodScheduled is merged in by type and stays."""
    reason = "" if ready else "ContainersNotReady"
    return (
        "conditions:\n"
        + _CONDITION.format(type="Initialized", status="True", reason="")
        + _CONDITION.format(type="ContainersReady", status=str(ready), reason=reason)
        + _CONDITION.format(type="Ready", status=str(ready), reason=reason)
        + "{{ range .spec.readinessGates }}\n"
        + '- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ Now | Quote }}}\n'
        + "{{ end }}\n"
    )


# A digest that is always the same for the same image, as a registry's would be.
_IMAGE = """\
  image: {{ .image | Quote }}
  imageID: {{ if contains "@sha256:" .image }}{{ .image | Quote }}{{ else }}\
"{{ regexReplaceAll ":[^:/]+$" .image "" }}@sha256:{{ sha256sum .image }}"{{ end }}
"""

_EACH_CONTAINER = (
    '{{ $labelled := hasKey (.metadata.labels | default dict) "'
    + SCENARIO_LABEL
    + """" }}
{{ $old := dict }}{{ range .status.containerStatuses }}{{ $_ := set $old .name . }}{{ end }}
containerStatuses:
{{ range .spec.containers }}
{{ $affected := or $labelled (contains "/scenario-" .image) }}
{{ $before := get $old .name | default dict }}
- name: {{ .name | Quote }}
"""
    + _IMAGE
)

# One restart more than the container has had.
ONE_MORE_RESTART = "{{ add1 (int64 ($before.restartCount | default 0)) }}"


def container(state: str, *, ready: bool = False, restarts: str = "0", last_state: str = "") -> str:
    """One container's status: `state` and `last_state` are YAML flow mappings, `restarts` a template or number."""
    started = str("running" in state).lower()
    last = f"  lastState: {last_state}\n" if last_state else ""
    return f"  ready: {str(ready).lower()}\n  started: {started}\n  restartCount: {restarts}\n  state: {state}\n{last}"


RUNNING_STATE = "{running: {startedAt: {{ Now | Quote }}}}"
RUNNING = container(RUNNING_STATE, ready=True)


def waiting(reason: str, message: str) -> str:
    """A container state; `message` is a template that yields a quoted scalar."""
    return f"{{waiting: {{reason: {reason}, message: {message}}}}}"


def terminated(exit_code: int, reason: str, message: str = "") -> str:
    """A container state; `message` is a template that yields a quoted scalar, or empty."""
    text = f", message: {message}" if message else ""
    return (
        f"{{terminated: {{exitCode: {exit_code}, reason: {reason}{text}, "
        'startedAt: {{ dig "state" "running" "startedAt" Now $before | Quote }}, finishedAt: {{ Now | Quote }}}}'
    )


def containers(affected: str, others: str = RUNNING) -> str:
    """The status of all containers of a pod."""
    return f"{_EACH_CONTAINER}{{{{ if $affected }}}}\n{affected}{{{{ else }}}}\n{others}{{{{ end }}}}\n{{{{ end }}}}\n"


_INIT_CONTAINERS = (
    "initContainerStatuses:\n{{ range .spec.initContainers }}\n- name: {{ .name | Quote }}\n"
    + _IMAGE
    + """\
  ready: true
  restartCount: 0
{{ if eq (.restartPolicy | default "") "Always" }}
  started: true
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}}}
{{ end }}
{{ end }}
"""
)

_ADDRESSES = """\
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs: [{ip: {{ index . 0 | Quote }}}]
{{ end }}
{{ with PodIPsWith .spec.nodeName (.spec.hostNetwork | default false) (.metadata.uid | default "") \
(.metadata.name | default "") (.metadata.namespace | default "") }}
podIP: {{ index . 0 | Quote }}
podIPs: [{ip: {{ index . 0 | Quote }}}]
{{ end }}
"""


def first_status(phase: str, statuses: str, *, ready: bool) -> str:
    """All of a pod's status, for a pod that has none yet (addresses are handed out here, and only once)."""
    return (
        conditions(ready=ready)
        + statuses
        + _INIT_CONTAINERS
        + _ADDRESSES
        + f"phase: {phase}\nstartTime: {{{{ Now | Quote }}}}\n"
    )


def next_status(phase: str, statuses: str, *, ready: bool) -> str:
    """What changes in the status of a pod that runs."""
    return f"{conditions(ready=ready)}{statuses}phase: {phase}\n"


NODE_CONDITIONS = """\
{{ $since := .metadata.creationTimestamp | default Now }}
conditions:
{{ range NodeConditions }}
- {type: {{ .type }}, status: {{ .status | Quote }}, reason: {{ .reason }}, message: {{ .message | Quote }}, \
lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ $since | Quote }}}
{{ end }}
"""

NODE_STATUS = (
    NODE_CONDITIONS
    + """\
addresses:
{{ with NodeIP }}
- {type: InternalIP, address: {{ . | Quote }}}
{{ end }}
- {type: Hostname, address: {{ .metadata.name | Quote }}}
{{ with NodePort }}
daemonEndpoints: {kubeletEndpoint: {Port: {{ . }}}}
{{ end }}
phase: Running
nodeInfo: {architecture: amd64, operatingSystem: linux, kubeletVersion: kwok, kubeProxyVersion: kwok, \
containerRuntimeVersion: kwok, bootID: "", kernelVersion: "", machineID: "", osImage: "", systemUUID: ""}
allocatable: {cpu: "1000", memory: 4Ti, pods: "100000", ephemeral-storage: 4Ti}
capacity: {cpu: "1000", memory: 4Ti, pods: "100000", ephemeral-storage: 4Ti}
"""
)
