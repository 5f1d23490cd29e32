{{- /* What every pod of the release has in common, whatever it does. */ -}}

{{- define "gateway.written" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{- /* not 1e+06 */ -}}
{{- else }}{{ . }}{{ end }}
{{- end }}

{{- define "gateway.settings" -}}
{{- range $name, $value := .Values.settings }}
- name: GATEWAY_{{ upper $name }}
  value: {{ include "gateway.written" $value | quote }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gateway.secret" -}}
{{- if .from.existingSecret }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .from.existingSecret }}
      key: {{ .from.key }}
{{- end }}
{{- end }}

{{- define "gateway.env" -}}
{{ include "gateway.settings" . }}
{{- include "gateway.secret" (dict "name" "GATEWAY_OPERATOR_KEY" "from" .Values.operatorKey) }}
{{- include "gateway.secret" (dict "name" "GATEWAY_DATABASE" "from" .Values.database) }}
{{- with .Values.store }}
- name: GATEWAY_STORE
  value: {{ . | quote }}
{{- end }}
{{- if .Values.rayCluster.enabled }}
{{- with .Values.rayCluster }}
- name: GATEWAY_CLUSTER
  value: auto
- name: GATEWAY_DEVICES
  value: {{ ternary (printf "gpu:%d" (mul .workers .gpu)) (printf "cpu:%d" (int .workers)) (gt (int .gpu) 0) }}
{{- end }}
{{ include "gateway.rayToken" . }}
{{- end }}
{{- end }}

{{- define "gateway.rayToken" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "gateway.ray" . }}
      key: auth_token
{{- end }}

{{- define "gateway.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if gt (int .count) 0 }}
{{- $resources = merge $resources (dict "limits" (dict .name .count)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- define "gateway.mounts" -}}
- name: data
  mountPath: /var/lib/image-gateway
- name: hub
  mountPath: /var/lib/image-gateway/hub
- name: tmp
  mountPath: /tmp
{{- if .Values.rayCluster.enabled }}
- name: shared-mem
  mountPath: /dev/shm
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gateway.hub" -}}
- name: hub
  {{- if or .Values.cache.claim .Values.cache.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.cache.existingClaim | default (printf "%s-hub" (include "gateway.name" .)) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- if .Values.rayCluster.enabled }}
- name: shared-mem
  emptyDir:
    medium: Memory
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gateway.placement" -}}
serviceAccountName: {{ include "gateway.serviceAccount" . }}
automountServiceAccountToken: false
# Kubernetes would name the port of a service `GATEWAY_PORT`.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "gateway.container" -}}
image: {{ include "gateway.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
