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
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 5
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 1
  failureThreshold: 60
{{- end }}

{{/* What the coordinator may do where Tasks live. */}}
{{- define "baton.coordinatorRules" -}}
# Tasks, and the end of those whose time to live is over; of what is in them it writes the status alone.
- apiGroups: [baton.dev]
  resources: [tasks]
  verbs: [get, list, watch, delete]
- apiGroups: [baton.dev]
  resources: [tasks/status]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, pods that block their owner's deletion need it.
- apiGroups: [baton.dev]
  resources: [tasks/finalizers]
  verbs: [update]
# One pod per run: made, watched, annotated, removed.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# What `kubectl describe task` shows.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
