{{/* Labels of every object; `component` is agent, coordinator or empty. */}}
{{- define "baton.labels" -}}
app.kubernetes.io/name: baton
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: baton
{{- end }}

{{- define "baton.selector" -}}
app.kubernetes.io/name: baton
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* An image's reference: (list . "baton-agent") */}}
{{- define "baton.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image }}{{ .registry }}/{{ index $ 1 }}:{{ .tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* What probes have in common. */}}
{{- define "baton.probes" -}}
# A node whose processor or disk has more to do than it can is no reason to restart what is well.
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 5
  timeoutSeconds: 3
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 1
  failureThreshold: 60
{{- end }}

{{/* What the coordinator may do where Tasks, JobFlows and DaemonJobs live. */}}
{{- define "baton.coordinatorRules" -}}
# What it runs, and the end of what has had its time to live; of what is in them it writes the status
# alone. What a JobFlow's Jobs are made of.
- apiGroups: [baton.dev]
  resources: [tasks, jobflows, daemonjobs]
  verbs: [get, list, watch, delete]
- apiGroups: [baton.dev]
  resources: [jobtemplates]
  verbs: [list, watch]
- apiGroups: [baton.dev]
  resources: [tasks/status, jobflows/status, daemonjobs/status]
  verbs: [patch]
# The Tasks of a JobFlow's nodes, which are cancelled with it; and the runs of what has a schedule.
- apiGroups: [baton.dev]
  resources: [tasks, jobflows]
  verbs: [create]
- apiGroups: [baton.dev]
  resources: [tasks]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, children that block their owner's deletion need it.
- apiGroups: [baton.dev]
  resources: [tasks/finalizers, jobflows/finalizers, daemonjobs/finalizers]
  verbs: [update]
# One pod per run of a Task: made, watched, annotated, removed.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# The Jobs of JobFlows and DaemonJobs: made, watched, stopped, removed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# What `kubectl describe` shows.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
