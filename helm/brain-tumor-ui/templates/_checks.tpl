{{/* What a JSON schema cannot say, or not in a sentence: types and unknown keys are values.schema.json's. */}}
{{- define "brain-tumor-ui.checks" -}}
{{- with .Values }}
{{- if not .api.url }}
{{- fail "api.url is required: the URL of the InferenceService, such as http://brain-tumor-predictor.models.svc.cluster.local" }}
{{- end }}
{{- if contains "@" .api.url }}
{{- fail "api.url must hold no user and password: put a token into a Secret and name it in api.tokenSecret.name" }}
{{- end }}
{{- if eq .image.tag "latest" }}
{{- fail "image.tag is latest, which names no version: give one, or leave it empty for the chart's" }}
{{- end }}
{{- range .extraEnv }}
{{- if has .name (list "API_URL" "API_TOKEN" "PAGE_PORT" "METRICS_PORT" "COLOUR_MAP" "HOME") }}
{{- fail (printf "extraEnv must not set %s, which the chart sets; a token comes from api.tokenSecret" .name) }}
{{- end }}
{{- end }}
{{- if eq (int .service.port) 9464 }}
{{- fail "service.port is 9464, which the metrics have" }}
{{- end }}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas is %v, above autoscaling.maxReplicas, %v" .autoscaling.minReplicas .autoscaling.maxReplicas) }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.host) }}
{{- fail "ingress.host is required with ingress.enabled" }}
{{- end }}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs is required with httpRoute.enabled: the gateways that the route hangs on" }}
{{- end }}
{{- end }}
{{- end }}
