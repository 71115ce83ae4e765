{{/* The binding of a policy, for every namespace: {root, policy, kind, params}. With params, for every Rollout of the request's namespace. */}}
{{- define "bellwether.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .policy }}
  labels: {{- include "bellwether.labels" .root | nindent 4 }}
spec:
  policyName: {{ .policy }}
  {{- if eq .kind "ValidatingAdmissionPolicy" }}
  validationActions: [Deny]
  {{- end }}
  {{- if .params }}
  paramRef: {selector: {}, parameterNotFoundAction: Allow}
  {{- end }}
{{- end }}
