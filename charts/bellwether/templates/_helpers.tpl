{{- define "bellwether.fullname" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "bellwether.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bellwether.labels" -}}
{{ include "bellwether.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "bellwether.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "bellwether.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "bellwether.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* The operator as the API server sees it in a request. */}}
{{- define "bellwether.userName" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "bellwether.serviceAccount" . }}
{{- end }}

{{/* The name of the Lease: two releases that steer different Rollouts must not wait for each other. */}}
{{- define "bellwether.lease" -}}
{{- $part := .Values.selector | nospace }}
{{- with .Values.watchNamespaces }}
{{- $part = printf "%s in %s" $part (sortAlpha . | join ",") }}
{{- end }}
{{- .Values.leaseName | default (empty $part | ternary "bellwether" (printf "bellwether-%s" ($part | sha256sum | trunc 8))) }}
{{- end }}

{{/* What every container of ours is held to: the "restricted" Pod Security Standard and a file system that cannot be written. */}}
{{- define "bellwether.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "bellwether.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* A duration, like 1m30s, in milliseconds. */}}
{{- define "bellwether.milliseconds" -}}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 }}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | atoi) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+" .))) }}
{{- end }}
{{- $sum }}
{{- end }}

{{/* "yes" where policies of this kind are to be installed: {root, mode, kind}. */}}
{{- define "bellwether.wants" -}}
{{- if .root.Values.clusterObjects }}
{{- $served := .root.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1/%s" .kind) }}
{{- if or (eq .mode "Always") (and (eq .mode "Auto") $served) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "bellwether.validating" -}}
{{- include "bellwether.wants" (dict "root" . "mode" .Values.policies.validating "kind" "ValidatingAdmissionPolicy") }}
{{- end }}

{{- define "bellwether.mutating" -}}
{{- include "bellwether.wants" (dict "root" . "mode" .Values.policies.mutating "kind" "MutatingAdmissionPolicy") }}
{{- end }}
