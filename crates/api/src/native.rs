//! Fields that Baton does not read: they go to the pod as they are.

/// Defines a structure with typed fields, and native ones that are kept as JSON.
macro_rules! with_native {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
        native { $($native:ident = $key:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $(
                #[doc = concat!("Native `", $key, "`, as it is.")]
                #[serde(rename = $key, skip_serializing_if = "Option::is_none")]
                pub $native: Option<serde_json::Value>,
            )*
        }

        impl $name {
            /// The native fields that are given and that Baton does not read, by name.
            pub fn native(&self) -> impl Iterator<Item = (&'static str, &serde_json::Value)> {
                [$(($key, self.$native.as_ref()),)*]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value?)))
            }
        }
    };
}

/// [`with_native`] with the fields of a core/v1 Container.
macro_rules! container {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $crate::native::with_native! {
            $(#[$meta])*
            pub struct $name { $($body)* }
            native {
                env_from = "envFrom",
                image_pull_policy = "imagePullPolicy",
                lifecycle = "lifecycle",
                liveness_probe = "livenessProbe",
                ports = "ports",
                readiness_probe = "readinessProbe",
                resize_policy = "resizePolicy",
                resources = "resources",
                restart_policy = "restartPolicy",
                restart_policy_rules = "restartPolicyRules",
                security_context = "securityContext",
                startup_probe = "startupProbe",
                stdin = "stdin",
                stdin_once = "stdinOnce",
                termination_message_path = "terminationMessagePath",
                termination_message_policy = "terminationMessagePolicy",
                tty = "tty",
                volume_devices = "volumeDevices",
            }
        }
    };
}

/// [`with_native`] with the fields of a core/v1 PodSpec that are not typed anywhere here.
macro_rules! pod_spec {
    (
        $(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }
        native { $($more:tt)* }
    ) => {
        $crate::native::with_native! {
            $(#[$meta])*
            pub struct $name { $($body)* }
            native {
                $($more)*
                affinity = "affinity",
                automount_service_account_token = "automountServiceAccountToken",
                dns_config = "dnsConfig",
                dns_policy = "dnsPolicy",
                enable_service_links = "enableServiceLinks",
                ephemeral_containers = "ephemeralContainers",
                host_aliases = "hostAliases",
                host_ipc = "hostIPC",
                host_network = "hostNetwork",
                host_pid = "hostPID",
                host_users = "hostUsers",
                hostname = "hostname",
                hostname_override = "hostnameOverride",
                image_pull_secrets = "imagePullSecrets",
                node_name = "nodeName",
                node_selector = "nodeSelector",
                os = "os",
                overhead = "overhead",
                preemption_policy = "preemptionPolicy",
                priority = "priority",
                priority_class_name = "priorityClassName",
                readiness_gates = "readinessGates",
                resource_claims = "resourceClaims",
                resources = "resources",
                runtime_class_name = "runtimeClassName",
                scheduler_name = "schedulerName",
                scheduling_gates = "schedulingGates",
                security_context = "securityContext",
                service_account = "serviceAccount",
                service_account_name = "serviceAccountName",
                set_hostname_as_fqdn = "setHostnameAsFQDN",
                share_process_namespace = "shareProcessNamespace",
                subdomain = "subdomain",
                tolerations = "tolerations",
                topology_spread_constraints = "topologySpreadConstraints",
            }
        }
    };
}

pub(crate) use {container, pod_spec, with_native};
