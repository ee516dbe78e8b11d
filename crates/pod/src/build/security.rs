//! The "restricted" Pod Security Standard, wherever the Task asks for nothing else.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

/// The user that containers run as of which nobody says anything.
///
/// "restricted" wants no container to run as root, and most images name no user, which is root: without
/// this they could not start. It is not used where a step's `securityContext` or the pod template's says
/// `runAsUser` or `runAsNonRoot`: `runAsNonRoot: true` alone keeps the (numeric) user of the image, and
/// `runAsUser: 0` asks for root.
pub const DEFAULT_USER: i64 = 65532;

/// Fills in what the pod and its containers do not say.
pub(super) fn restrict(pod: &mut PodSpec, containers: &mut [Container], user: Option<i64>) {
    let asked = pod.security_context.clone().unwrap_or_default();
    for container in containers.iter_mut() {
        let security = container.security_context.get_or_insert_default();
        not_root(security, &asked, user);
        unprivileged(security);
    }
    let says_user = asked.run_as_user.is_some() || asked.run_as_non_root.is_some();
    let security = pod.security_context.get_or_insert_default();
    security
        .seccomp_profile
        .get_or_insert_with(|| SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        });
    // Volumes that belong to root can be written all the same.
    if let Some(user) = user.filter(|_| !says_user && asked.fs_group.is_none()) {
        security.fs_group = Some(user);
        let policy = &mut security.fs_group_change_policy;
        policy.get_or_insert_with(|| "OnRootMismatch".to_owned());
    }
}

/// The context of a container of Baton's own.
pub(super) fn own() -> SecurityContext {
    let mut security = SecurityContext {
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    };
    not_root(
        &mut security,
        &PodSecurityContext::default(),
        Some(DEFAULT_USER),
    );
    unprivileged(&mut security);
    security
}

fn not_root(security: &mut SecurityContext, pod: &PodSecurityContext, user: Option<i64>) {
    if security.run_as_non_root.or(pod.run_as_non_root).is_some() {
        return;
    }
    match security.run_as_user.or(pod.run_as_user) {
        Some(0) => {}
        Some(_) => security.run_as_non_root = Some(true),
        None => {
            security.run_as_non_root = Some(true);
            security.run_as_user = user;
            if pod.run_as_group.is_none() && security.run_as_group.is_none() {
                security.run_as_group = user;
            }
        }
    }
}

fn unprivileged(security: &mut SecurityContext) {
    let added = security.capabilities.as_ref().and_then(|c| c.add.as_ref());
    let is_admin = |name: &String| matches!(name.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN");
    // The API server refuses the one with the other.
    let is_privileged =
        security.privileged == Some(true) || added.is_some_and(|added| added.iter().any(is_admin));
    if !is_privileged {
        security.allow_privilege_escalation.get_or_insert(false);
    }
    if security.privileged != Some(true) {
        security.capabilities.get_or_insert_with(|| Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        });
    }
}
