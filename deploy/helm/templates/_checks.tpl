{{- define "gateway.checks" -}}
{{- if include "gateway.wide" . }}
{{- if not (and .Values.database.existingSecret .Values.store .Values.operatorKey.existingSecret) }}
{{- fail "more than one replica needs database.existingSecret, store and operatorKey.existingSecret" }}
{{- end }}
{{- end }}
{{- if not (or .Values.operatorKey.existingSecret .Values.settings.no_auth) }}
{{- fail "without operatorKey.existingSecret the gateway does not start: nobody could be let in" }}
{{- end }}
{{- if and .Values.cache.download (not (or .Values.cache.claim .Values.cache.existingClaim)) }}
{{- fail "cache.download needs cache.claim or cache.existingClaim" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parents) }}
{{- fail "httpRoute needs parents" }}
{{- end }}
{{- end }}
