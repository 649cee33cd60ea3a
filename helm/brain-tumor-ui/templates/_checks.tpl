{{/* Checks that a JSON schema cannot make, or not with a clear message. values.schema.json checks types and unknown keys. */}}
{{- define "brain-tumor-ui.checks" -}}
{{- $name := include "brain-tumor-ui.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "release name: got %s, which makes the Service's name %s, expected a letter first, then letters, digits and '-': choose another name, or set fullnameOverride" .Release.Name $name) }}
{{- end }}
{{- with .Values }}
{{- if not .api.url }}
{{- fail "api.url: got nothing, expected the URL of the InferenceService, such as http://brain-tumor-predictor.models.svc.cluster.local" }}
{{- end }}
{{- if contains "@" .api.url }}
{{- fail "api.url: got a user or password, expected a plain URL: put a token into a Secret and name it in api.tokenSecret.name" }}
{{- end }}
{{- if eq .image.tag "latest" }}
{{- fail "image.tag: got latest, expected a version: set one, or leave it empty for the chart's version" }}
{{- end }}
{{- range .extraEnv }}
{{- $variable := upper .name }}{{/* The web page reads its settings in any case. */}}
{{- if eq $variable "PAGE_PATH" }}
{{- fail (printf "extraEnv: got %s, expected the path in page.path, as the probes and the routes need it too" .name) }}
{{- end }}
{{- if has $variable (list "API_URL" "API_TOKEN" "PAGE_PORT" "METRICS_PORT" "SESSION_MINUTES" "COLOUR_MAP" "HOME") }}
{{- fail (printf "extraEnv: got %s, expected none of the variables that the chart sets; a token comes from api.tokenSecret" .name) }}
{{- end }}
{{- end }}
{{- if eq (int .service.port) 9464 }}
{{- fail "service.port: got 9464, the port of the metrics, expected another one" }}
{{- end }}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas: got %v, expected at most autoscaling.maxReplicas, %v" .autoscaling.minReplicas .autoscaling.maxReplicas) }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.host) }}
{{- fail "ingress.host: got nothing, expected a host name, as ingress.enabled is true" }}
{{- end }}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: got none, expected the route's gateways, as httpRoute.enabled is true" }}
{{- end }}
{{- end }}
{{- end }}
