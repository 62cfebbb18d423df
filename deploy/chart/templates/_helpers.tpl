{{/* One name for all, which a release of another name begins with. */}}
{{- define "dqn-scaler.name" -}}
{{- if contains "dqn-scaler" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-dqn-scaler" (.Release.Name | trunc 29 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{- define "dqn-scaler.selector" -}}
app.kubernetes.io/name: {{ include "dqn-scaler.name" . }}
{{- end -}}

{{- define "dqn-scaler.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
{{- include "dqn-scaler.labels" . | nindent 2 }}
{{- end -}}

{{- define "dqn-scaler.labels" -}}
{{ include "dqn-scaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "dqn-scaler.subject" -}}
- kind: ServiceAccount
  name: {{ include "dqn-scaler.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* The environment of the service. */}}
{{- define "dqn-scaler.environment" -}}
{{- $name := include "dqn-scaler.name" . -}}
{{- $all := dict "KUBERNETES_IN_CLUSTER" "true" "LOG_FORMAT" "json" -}}
{{- $_ := set $all "MODEL_PATH" "final-models/dqn_model_room.pth" -}}
{{- $_ := set $all "DRY_RUN" (ternary "false" "true" .Values.live) -}}
{{- $_ := set $all "NAMESPACES" (join "," .Values.namespaces) -}}
{{- if .Values.replicated -}}
{{- $_ := set $all "LEADER_ELECT" "true" -}}
{{- $_ := set $all "LEASE_NAME" (printf "%s-leader" $name) -}}
{{- end -}}
{{- if .Values.bornRightSized -}}
{{- $_ := set $all "BORN_RIGHT_SIZED" "true" -}}
{{- end -}}
{{- if .Values.persistent.enabled -}}
{{- $_ := set $all "DATA_DIR" "/data" -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $all "TLS_CERT" "/tls/tls.crt" -}}
{{- $_ := set $all "TLS_KEY" "/tls/tls.key" -}}
{{- end -}}
{{- if .Values.writeToken.enabled -}}
{{- $_ := set $all "WRITE_TOKEN_FILE" "/write-token/token" -}}
{{- end -}}
{{- range $key, $value := .Values.config -}}
{{- $_ := set $all $key (toString $value) -}}
{{- end -}}
{{- range $key, $value := $all }}
{{ $key }}: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{/* A ClusterRole with the rules of the file of its name, and `more`. */}}
{{- define "dqn-scaler.clusterRole" -}}
{{- $file := .root.Files.Get (printf "files/%s.yaml" .as) -}}
{{- $role := fromYaml (first (regexSplit "(?m)^---$" $file -1)) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "dqn-scaler.name" .root }}-{{ .as }}
  labels:
    {{- include "dqn-scaler.labels" .root | nindent 4 }}
rules:
{{ toYaml (concat $role.rules .more) }}
{{- end -}}

{{- define "dqn-scaler.clusterRoleBinding" -}}
{{- $role := printf "%s-%s" (include "dqn-scaler.name" .root) .as -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $role }}
  labels:
    {{- include "dqn-scaler.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $role }}}
subjects:
{{ include "dqn-scaler.subject" .root }}
{{- end -}}
