{{/* Names and lists that more than one template needs, each worked out once. */}}

{{- define "fljob.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of the operator's Deployment, ServiceAccount, Roles and Lease. */}}
{{- define "fljob.operatorName" -}}
{{ include "fljob.fullname" . }}-operator
{{- end -}}

{{/* The component keeps a job's pods out: they carry the same name label, and a job may be called as the release. */}}
{{- define "fljob.selectorLabels" -}}
app.kubernetes.io/name: fljob
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "fljob.labels" -}}
{{ include "fljob.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: fljob
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fljob.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "fljob.operatorName" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "fljob.operatorImage" -}}
{{- .Values.image.operator | default (printf "fljob-operator:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "fljob.runtimeImage" -}}
{{- .Values.image.runtime | default (printf "fljob-runtime:%s" .Chart.AppVersion) -}}
{{- end -}}

{{/* Where pods of jobs are found: everywhere, or in the watched namespaces. */}}
{{- define "fljob.jobNamespaceSelector" -}}
{{- if .Values.watchNamespaces -}}
matchNames: {{ .Values.watchNamespaces | uniq | toJson }}
{{- else -}}
any: true
{{- end -}}
{{- end -}}

{{/* Environment of the operator, read by fljob_operator.settings. */}}
{{- define "fljob.operatorEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: FLJOB_RUNTIME_IMAGE, value: {{ include "fljob.runtimeImage" . | quote }}}
- {name: FLJOB_RUNTIME_PULL_POLICY, value: {{ .Values.image.pullPolicy }}}
- {name: FLJOB_WATCH_NAMESPACES, value: {{ .Values.watchNamespaces | uniq | join "," | quote }}}
- {name: FLJOB_LEASE_NAME, value: {{ include "fljob.operatorName" . }}}
- {name: FLJOB_LOG_LEVEL, value: {{ .Values.logLevel | upper }}}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
