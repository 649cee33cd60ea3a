{{/* Checks that a JSON schema cannot make, or not with a clear message. values.schema.json checks types and unknown keys. */}}
{{- define "brain-tumor-ui.checks" -}}
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
{{- if has .name (list "API_URL" "API_TOKEN" "PAGE_PORT" "METRICS_PORT" "COLOUR_MAP" "HOME") }}
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
