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
{{ .image.registry | default $values.registry }}/{{ .image.repository }}:{{ .image.tag | default $values.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- define "headrace.tokenSecret" -}}
{{ .Values.queue.workerToken.existingSecret | default (printf "%s-worker-token" .Release.Name) }}
{{- end -}}

{{- define "headrace.adminKeySecret" -}}
{{ .Values.queue.keys.adminKey.existingSecret | default (printf "%s-queue-admin-key" .Release.Name) }}
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

{{- /* The profiles that there are, as JSON: helm keeps a null that takes nothing of the chart's own away. */}}
{{- define "headrace.accelerators" -}}
{{- $profiles := dict -}}
{{- range $name, $profile := .Values.runtime.accelerators -}}
{{- if kindIs "map" $profile -}}{{- $_ := set $profiles $name $profile -}}{{- end -}}
{{- end -}}
{{- toJson $profiles -}}
{{- end -}}

{{- /* The form in which the operator compares names of accelerators. */}}
{{- define "headrace.acceleratorKind" -}}
{{- regexReplaceAll "^(nvidia|tesla)-" (regexReplaceAll "_+" (lower .) "-") "" -}}
{{- end -}}

{{- define "headrace.defaultAccelerator" -}}
{{- $kinds := dict -}}
{{- $names := include "headrace.accelerators" . | fromJson | keys | sortAlpha -}}
{{- range $name := $names -}}
{{- $kind := include "headrace.acceleratorKind" $name -}}
{{- if hasKey $kinds $kind -}}
{{- fail (printf "runtime.accelerators: %s and %s are the same name" (get $kinds $kind) $name) -}}
{{- end -}}
{{- $_ := set $kinds $kind $name -}}
{{- end -}}
{{- with .Values.runtime.defaultAccelerator -}}
{{- if not (hasKey $kinds (include "headrace.acceleratorKind" .)) -}}
{{- fail (printf "runtime.defaultAccelerator: no profile %q in runtime.accelerators; accepted: %s" . ($names | join ", " | default "none")) -}}
{{- end -}}
{{ . | quote }}
{{- end -}}
{{- end -}}

{{- /* What the operator would not start with, or would not do; the schema cannot compare two values. */}}
{{- define "headrace.checkOperator" -}}
{{- with .Values.operator -}}
{{- if ge (float64 .lease.renewSeconds) (float64 .lease.seconds) -}}
{{- fail (printf "operator.lease.renewSeconds: %v; accepted: less than operator.lease.seconds, which is %v" .lease.renewSeconds .lease.seconds) -}}
{{- end -}}
{{- if and .clusterWide .namespaces -}}
{{- fail (printf "operator.namespaces: %s, but operator.clusterWide is true, which is all namespaces; accepted: one of the two" (join ", " .namespaces)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
