{{/*
Set each missing value, of a null section or of a release of an older chart (--reuse-values), to its default. A map of free keys counts as
one value, as null removes a key from it. Every template that reads values starts with this.
*/}}
{{- define "brain-tumor-ui.setDefaults" -}}
{{- if and .Values.networkPolicy (kindIs "invalid" (index .Values.networkPolicy "apiTo")) }}
{{- fail "networkPolicy.apiTo: got null, which would allow every address, expected at least one peer" }}
{{- end }}
{{- include "brain-tumor-ui.fill" (dict "values" .Values "defaults" (.Files.Get "defaults.yaml" | fromYaml)) }}
{{- end }}

{{- define "brain-tumor-ui.fill" -}}
{{- range $key, $default := .defaults }}
{{- if kindIs "invalid" (index $.values $key) }}
{{- $_ := set $.values $key $default }}
{{- else if and (kindIs "map" $default) (not (has $key (list "resources" "annotations" "labels"))) }}
{{- include "brain-tumor-ui.fill" (dict "values" (index $.values $key) "defaults" $default) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "brain-tumor-ui.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "brain-tumor-ui.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 63 | trimAll "-" }}
{{- end }}

{{- define "brain-tumor-ui.selectorLabels" -}}
app.kubernetes.io/name: {{ include "brain-tumor-ui.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The pods of `helm test` have another name: the Service must not send users to them. */}}
{{- define "brain-tumor-ui.testLabels" -}}
app.kubernetes.io/name: {{ include "brain-tumor-ui.name" . | trunc 58 }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "brain-tumor-ui.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: brain-tumor
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "brain-tumor-ui.labels" -}}
{{ include "brain-tumor-ui.selectorLabels" . }}
{{ include "brain-tumor-ui.commonLabels" . }}
{{- end }}

{{- define "brain-tumor-ui.serviceAccountName" -}}
{{- default (ternary (include "brain-tumor-ui.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "brain-tumor-ui.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Rules and dashboards find web pages by this chart's name. Add this release's own name if it lacks that. */}}
{{- define "brain-tumor-ui.addName" -}}
{{- $name := include "brain-tumor-ui.fullname" .context }}
{{- if contains .context.Chart.Name $name }}
{{- .text }}
{{- else }}
{{- .text | replace ".*brain-tumor-ui.*" (printf ".*brain-tumor-ui.*|%s" $name) | replace ".*brain-tumor-ui-.*" (printf ".*brain-tumor-ui-.*|%s-.*" $name) }}
{{- end }}
{{- end }}

{{- define "brain-tumor-ui.pagePath" -}}
{{- trimSuffix "/" .Values.page.path }}
{{- end }}

{{- define "brain-tumor-ui.apiEnv" -}}
- name: API_URL
  value: {{ .Values.api.url | quote }}
{{- with .Values.api.tokenSecret }}
{{- if .name }}
- name: API_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "brain-tumor-ui.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "brain-tumor-ui.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "brain-tumor-ui.probe" -}}
httpGet:
  path: {{ include "brain-tumor-ui.pagePath" . }}/_stcore/health
  port: http
timeoutSeconds: 5
{{- end }}
