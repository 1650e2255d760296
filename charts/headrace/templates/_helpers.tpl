{{- define "headrace.labels" -}}
app.kubernetes.io/name: headrace-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "headrace.selector" -}}
app.kubernetes.io/name: headrace-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "headrace.image" -}}
{{- $values := .root.Values.image -}}
{{ $values.registry }}/{{ .image.repository }}:{{ .image.tag | default $values.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- define "headrace.tokenSecret" -}}
{{ .Values.queue.workerToken.existingSecret | default (printf "%s-worker-token" .Release.Name) }}
{{- end -}}

{{- define "headrace.watched" -}}
{{- if .Values.operator.namespaces -}}{{ toJson .Values.operator.namespaces }}{{- else -}}{{ toJson (list .Release.Namespace) }}{{- end -}}
{{- end -}}

{{- define "headrace.webhookHost" -}}
{{ .Release.Name }}-operator.{{ .Release.Namespace }}.svc
{{- end -}}

{{- /* Cluster-scoped: a dot cannot be in a namespace, so that no two releases have the same name. */}}
{{- define "headrace.webhookConfiguration" -}}
{{ .Release.Name }}.{{ .Release.Namespace }}.headrace.dev
{{- end -}}

{{- /* The Secret with the webhook's certificate; empty when the operator makes it. */}}
{{- define "headrace.webhookSecret" -}}
{{- with .Values.operator.webhook.certificate -}}
{{- if eq .source "certManager" }}{{ $.Release.Name }}-operator-webhook{{ else if eq .source "secret" }}{{ .secret.name }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* What the values say; where they say nothing of pods, replicas rather go to different nodes. */}}
{{- define "headrace.affinity" -}}
{{- $labels := include "headrace.selector" . | fromYaml -}}
{{- $term := dict "weight" 100 "podAffinityTerm" (dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels)) -}}
{{- $apart := dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
{{- merge (dict) (.affinity | default dict) $apart | toYaml -}}
{{- end -}}

{{- define "headrace.defaultAccelerator" -}}
{{- with .Values.runtime.defaultAccelerator -}}
{{- if not (hasKey ($.Values.runtime.accelerators | default dict) .) -}}
{{- fail (printf "runtime.defaultAccelerator: no profile %q in runtime.accelerators; accepted: %s" . (keys $.Values.runtime.accelerators | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{ . | quote }}
{{- end -}}
{{- end -}}
