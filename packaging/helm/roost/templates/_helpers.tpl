{{- define "roost.labels" -}}
app.kubernetes.io/name: roost
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "roost.selector" -}}
app.kubernetes.io/name: roost
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: session-manager
{{- end }}

{{- define "roost.workspacesNamespace" -}}
{{ .Values.workspaces.namespace | default .Release.Namespace }}
{{- end }}

{{- define "roost.serviceAccount" -}}
{{ .Values.serviceAccount.name | default "session-manager" }}
{{- end }}

{{- define "roost.keysSecret" -}}
{{ .Values.apiKeys.existingSecret | default "session-manager-keys" }}
{{- end }}

{{- define "roost.dataClaim" -}}
{{ .Values.data.existingClaim | default "session-manager-data" }}
{{- end }}

{{- define "roost.backupClaim" -}}
{{ .Values.backups.existingClaim | default "session-manager-backups" }}
{{- end }}

{{/* The claim that the Jobs mount, in the workspaces' namespace. */}}
{{- define "roost.jobBackupClaim" -}}
{{ .Values.backups.workspacesClaim | default (include "roost.backupClaim" .) }}
{{- end }}

{{/* Names by which the API is reached, as JSON. */}}
{{- define "roost.hosts" -}}
{{- $hosts := list "localhost" "127.0.0.1" "[::1]" "session-manager" }}
{{- range list "" ".svc" ".svc.cluster.local" }}
{{- $hosts = append $hosts (printf "session-manager.%s%s" $.Release.Namespace .) }}
{{- end }}
{{- range list .Values.service.clusterIP .Values.service.loadBalancerIP .Values.api.ingress.host }}
{{- if and . (ne . "None") }}{{ $hosts = append $hosts . }}{{ end }}
{{- end }}
{{- concat $hosts .Values.api.hosts | uniq | mustToRawJson }}
{{- end }}

{{/* The API's address for workspaces: the Service. */}}
{{- define "roost.apiUrl" -}}
{{- $port := ternary "" (printf ":%d" (int .Values.service.port)) (eq (int .Values.service.port) 80) }}
{{- printf "http://session-manager.%s.svc%s" .Release.Namespace $port }}
{{- end }}

{{/* roost.key (list $ "path.of.key" default): what .Values.config says there, else the default; as JSON, which is YAML. */}}
{{- define "roost.key" -}}
{{- $at := (index . 0).Values.config }}
{{- $found := true }}
{{- range splitList "." (index . 1) }}
{{- if and $found (kindIs "map" $at) (hasKey $at .) }}{{ $at = index $at . }}{{ else }}{{ $found = false }}{{ end }}
{{- end }}
{{- $value := ternary $at (index . 2) $found }}
{{- if and (kindIs "string" $value) (regexMatch "^([0-9]+(ms|s|m|h|d|Ki|Mi|Gi|Ti)|[a-z][a-z0-9./-]*|/[a-z][a-z0-9./-]*)$" $value) (not (has $value (list "true" "false" "null" "yes" "no" "on" "off"))) }}
{{- $value }}
{{- else }}
{{- mustToRawJson $value }}
{{- end }}
{{- end }}

{{/* "true" where the store is the Redis of .Values.redis. */}}
{{- define "roost.usesRedis" -}}
{{- if or .Values.redis.address .Values.redis.sentinels }}true{{ else }}false{{ end }}
{{- end }}

{{/* The Secret with `secret-key`; empty: the key is in the data volume. */}}
{{- define "roost.secretKeySecret" -}}
{{- if .Values.secretKey.existingSecret }}{{ .Values.secretKey.existingSecret }}
{{- else if eq (include "roost.usesRedis" .) "true" }}session-manager-secret-key{{ end }}
{{- end }}

{{/* store.config of roost.yaml, as JSON. */}}
{{- define "roost.storeConfig" -}}
{{- if ne (include "roost.usesRedis" .) "true" }}{{ dict "path" "{data_dir}/store.db" | mustToRawJson }}
{{- else }}
{{- $config := dict }}
{{- with .Values.redis }}
{{- if .sentinels }}{{ $_ := set $config "sentinels" .sentinels }}{{ $_ := set $config "master_name" .masterName }}{{ else }}{{ $_ := set $config "address" .address }}{{ end }}
{{- with .user }}{{ $_ := set $config "user" . }}{{ end }}
{{- with .sentinelUser }}{{ $_ := set $config "sentinel_user" . }}{{ end }}
{{- if .database }}{{ $_ := set $config "database" (int .database) }}{{ end }}
{{- if .tls.enabled }}
{{- $tls := dict "enabled" true }}
{{- if .tls.caSecret }}{{ $_ := set $tls "ca_file" "/etc/roost-redis/ca.crt" }}{{ end }}
{{- with .tls.serverName }}{{ $_ := set $tls "server_name" . }}{{ end }}
{{- $_ := set $config "tls" $tls }}
{{- end }}
{{- $config = merge $config .config }}
{{- end }}
{{- mustToRawJson $config }}
{{- end }}
{{- end }}

{{/* store.secrets of roost.yaml, as JSON. */}}
{{- define "roost.storeSecrets" -}}
{{- $secrets := dict }}
{{- if and (eq (include "roost.usesRedis" .) "true") .Values.redis.existingSecret }}
{{- $_ := set $secrets "password" (dict "env" "STORE_PASSWORD") }}
{{- if .Values.redis.sentinelPassword }}{{ $_ := set $secrets "sentinel_password" (dict "env" "STORE_SENTINEL_PASSWORD") }}{{ end }}
{{- end }}
{{- mustToRawJson $secrets }}
{{- end }}

{{/* Refuses what cannot work, before anything is written. */}}
{{- define "roost.validate" -}}
{{- if gt (int .Values.replicas) 1 }}
{{- if ne .Values.backups.accessMode "ReadWriteMany" }}
{{- fail (printf "replicas: the backup volume is %s, so only one node mounts it: set replicas to 1, or backups.accessMode to ReadWriteMany" .Values.backups.accessMode) }}
{{- end }}
{{- if ne (include "roost.usesRedis" .) "true" }}
{{- if eq (dig "store" "plugin" "store-sqlite" .Values.config) "store-sqlite" }}
{{- fail "replicas: store-sqlite is one file of one roostd: set replicas to 1, or name a Redis (redis.address or redis.sentinels)" }}
{{- end }}
{{- fail "replicas: the data volume, with the key that logins are signed with, is used by one roostd at a time: set replicas to 1" }}
{{- end }}
{{- end }}
{{- if and .Values.redis.sentinels (or .Values.redis.address (not .Values.redis.masterName)) }}
{{- fail "redis.sentinels: they know the master by redis.masterName; redis.address is for a Redis without them" }}
{{- end }}
{{- if and (eq (include "roost.usesRedis" .) "true") (dig "store" "" .Values.config) }}
{{- fail "config.store: redis.address or redis.sentinels says already which store it is; more settings of store-redis belong to redis.config" }}
{{- end }}
{{- $_ := required "workspaces.domain: the domain of all workspaces is missing, such as preview.example.com" .Values.workspaces.domain }}
{{- if and (eq .Values.workspaces.exposure "gateway") (not .Values.workspaces.gateway.name) }}
{{- fail "workspaces.gateway.name: the Gateway's name is missing: workspaces.exposure is gateway" }}
{{- end }}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) }}
{{- fail "api.ingress.host: the API's host name is missing: api.ingress.enabled is true" }}
{{- end }}
{{- if hasSuffix (printf ".%s" .Values.workspaces.domain) .Values.api.ingress.host }}
{{- if hasPrefix "vs-code-" .Values.api.ingress.host }}
{{- fail "api.ingress.host: a name of a workspace" }}
{{- end }}
{{- end }}
{{- if and .Values.workspaces.namespace (ne .Values.workspaces.namespace .Release.Namespace) (not (and .Values.backups.existingClaim .Values.backups.workspacesClaim)) }}
{{- fail (printf "workspaces.namespace: a claim is of one namespace, and both the daemon and the Jobs in %s need the backups: make a claim of the same storage in each, and name them as backups.existingClaim and backups.workspacesClaim" .Values.workspaces.namespace) }}
{{- end }}
{{- $drain := dig "http" "drain_deadline" "10s" .Values.config }}
{{- $delay := dig "http" "drain_delay" "5s" .Values.config }}
{{- $both := add (int (trimSuffix "s" $drain)) (ternary (int (trimSuffix "s" $delay)) 0 (eq (include "roost.usesRedis" .) "true")) }}
{{- if and (regexMatch "^[0-9]+s$" $drain) (regexMatch "^[0-9]+s$" $delay) (ge (int $both) (int .Values.terminationGracePeriodSeconds)) }}
{{- fail (printf "terminationGracePeriodSeconds: requests may take http.drain_deadline (%s) to end, and the store needs a moment after that: more than %d" $drain (int .Values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- range .Values.apiKeys.list }}
{{- if or (eq (toString .key) "your-secure-api-key-change-in-production") (eq (lower (toString .sha256)) (sha256sum "your-secure-api-key-change-in-production")) }}
{{- fail (printf "apiKeys.list: the key of %s is the one that the client guide prints, so everybody knows it: openssl rand -hex 32 makes a good one" .name) }}
{{- end }}
{{- end }}
{{- if ne .Values.backups.accessMode "ReadWriteMany" }}{{ include "roost.validateNodes" . }}{{ end }}
{{- end }}

{{/* A backup volume of one node: a workspace whose volume is bound to another node could never be backed up, so never deleted. */}}
{{- define "roost.validateNodes" -}}
{{- $namespace := include "roost.workspacesNamespace" . }}
{{- $nodes := dict }}
{{- range (lookup "v1" "PersistentVolume" "" "").items }}
{{- if and (eq (dig "spec" "claimRef" "namespace" "" .) $namespace) (or (hasPrefix "pvc-" (dig "spec" "claimRef" "name" "" .)) (eq (dig "spec" "claimRef" "name" "" .) (include "roost.backupClaim" $))) }}
{{- range dig "spec" "nodeAffinity" "required" "nodeSelectorTerms" list . }}
{{- range .matchExpressions }}
{{- if and (eq .key "kubernetes.io/hostname") (eq .operator "In") }}
{{- range .values }}{{ $_ := set $nodes . true }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (len $nodes) 1 }}
{{- fail (printf "backups.accessMode: with %s the backups are on one node, but volumes in %s are bound to several (%s): use ReadWriteMany" .Values.backups.accessMode $namespace (keys $nodes | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
