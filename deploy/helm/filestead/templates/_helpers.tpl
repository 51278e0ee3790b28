{{- define "filestead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "filestead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "filestead.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "filestead.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "filestead.selector" -}}
app.kubernetes.io/name: {{ include "filestead.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "filestead.labels" -}}
{{ include "filestead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "filestead.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "filestead.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "filestead.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "filestead.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Variables of all containers; those of `serve` alone follow in "filestead.container". */}}
{{- define "filestead.environment" -}}
- name: FILESTEAD_DATA_DIR
  value: /data/filestead
- name: TMPDIR
  value: /data
{{- if .Values.config }}
- name: FILESTEAD_CONFIG
  value: /etc/filestead/filestead.toml
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .Values.secretVariables }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name }}
      key: {{ $from.key }}
{{- end }}
{{- end -}}

{{- define "filestead.mounts" -}}
- name: data
  mountPath: /data
{{- if .Values.config }}
- name: config
  mountPath: /etc/filestead
  readOnly: true
{{- end }}
{{- range $number, $each := .Values.secretFiles }}
- name: secret-{{ $number }}
  mountPath: {{ $each.mountPath }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* The pod of a node. Takes root, component (`api` or `worker`), role, and values (of the component). */}}
{{- define "filestead.pod" -}}
{{- $ := .root -}}
metadata:
  labels:
    {{- include "filestead.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    checksum/config: {{ $.Values.config | sha256sum }}
    {{- with .values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "filestead.serviceAccount" $ }}
  automountServiceAccountToken: false
  {{- with $.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  # The pause before SIGTERM, the requests in flight (FILESTEAD_SHUTDOWN_SECONDS), and the rest of the shutdown.
  terminationGracePeriodSeconds: {{ add 15 (int (default "30" (index $.Values.settings "FILESTEAD_SHUTDOWN_SECONDS"))) }}
  {{- if eq $.Values.profile "shared" }}
  initContainers:
    - name: migrate
      image: {{ include "filestead.image" $ }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [migrate, --wait, "60"]
      env:
        {{- include "filestead.environment" $ | nindent 8 }}
      securityContext:
        {{- include "filestead.securityContext" $ | nindent 8 }}
      resources:
        requests: {cpu: 50m, memory: 128Mi}
        limits: {memory: 512Mi}
      volumeMounts:
        {{- include "filestead.mounts" $ | nindent 8 }}
  {{- end }}
  containers:
    - name: filestead
      image: {{ include "filestead.image" $ }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [serve]
      env:
        - name: FILESTEAD_HOST
          value: "0.0.0.0"
        - name: FILESTEAD_PORT
          value: "8080"
        - name: FILESTEAD_ROLE
          value: {{ .role }}
        {{- if $.Values.metrics.enabled }}
        - name: FILESTEAD_METRICS_HOST
          value: "0.0.0.0"
        - name: FILESTEAD_METRICS_PORT
          value: {{ $.Values.metrics.port | quote }}
        {{- end }}
        {{- include "filestead.environment" $ | nindent 8 }}
      ports:
        - name: http
          containerPort: 8080
        {{- if $.Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ $.Values.metrics.port }}
        {{- end }}
      startupProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 7
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      securityContext:
        {{- include "filestead.securityContext" $ | nindent 8 }}
      {{- with .values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- include "filestead.mounts" $ | nindent 8 }}
  {{- if or (eq $.Values.profile "shared") $.Values.config $.Values.secretFiles }}
  volumes:
    {{- if eq $.Values.profile "shared" }}
    - name: data
      emptyDir:
        sizeLimit: {{ $.Values.scratch.sizeLimit }}
    {{- end }}
    {{- if $.Values.config }}
    - name: config
      configMap:
        name: {{ include "filestead.fullname" $ }}
    {{- end }}
    {{- range $number, $each := $.Values.secretFiles }}
    - name: secret-{{ $number }}
      secret:
        secretName: {{ $each.name }}
        defaultMode: 0440
    {{- end }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "filestead.selector" $ | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* A PodDisruptionBudget. Takes root, component and values (of the component). */}}
{{- define "filestead.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "filestead.fullname" .root }}-{{ .component }}
  labels:
    {{- include "filestead.labels" .root | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "filestead.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end -}}
