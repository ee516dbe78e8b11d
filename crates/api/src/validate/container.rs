//! What every container has: environment and mounts.

use std::collections::BTreeSet;

use super::{exactly_one, given, missing};
use crate::core::{EnvVar, SecretKeyRef, Volume, VolumeMount};
use crate::diagnostic::{FieldPath, excerpt};
use crate::report::Report;

pub(super) fn env(env: &[EnvVar], path: &FieldPath, report: &mut Report) {
    for (i, var) in env.iter().enumerate() {
        let path = path.index(i);
        if var.name.is_empty() {
            missing(report, &path.key("name"));
        } else if var.name.contains('=') || !var.name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let message = format!(
                "{:?} cannot name a variable: no '=', and nothing but printable ASCII",
                excerpt(&var.name)
            );
            report.at(&path.key("name"), message);
        }
        if let Some(source) = &var.value_from {
            if var.value.is_some() {
                let message = "value and valueFrom are given; only one of them can be";
                report.at(&path.key("valueFrom"), message);
            }
            let path = path.key("valueFrom");
            let sources = given(&[
                ("fieldRef", source.field_ref.is_some()),
                ("resourceFieldRef", source.resource_field_ref.is_some()),
                ("configMapKeyRef", source.config_map_key_ref.is_some()),
                ("secretKeyRef", source.secret_key_ref.is_some()),
                ("fileKeyRef", source.file_key_ref.is_some()),
            ]);
            let all = "fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef or fileKeyRef";
            exactly_one(&sources, all, &path, report);
            if let Some(key) = &source.secret_key_ref {
                secret_key(key, &path.key("secretKeyRef"), report);
            }
        }
    }
}

pub(super) fn secret_key(key: &SecretKeyRef, path: &FieldPath, report: &mut Report) {
    for (field, value) in [("name", &key.name), ("key", &key.key)] {
        if value.is_empty() {
            missing(report, &path.key(field));
        }
    }
}

pub(super) fn mounts(
    mounts: &[VolumeMount],
    volumes: &[Volume],
    path: &FieldPath,
    report: &mut Report,
) {
    let mut seen = BTreeSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let path = path.index(i);
        let mut names = volumes.iter().map(|v| v.name.as_str());
        if mount.name.is_empty() {
            missing(report, &path.key("name"));
        } else if !names.any(|name| name == mount.name) {
            report.suggest(
                &path.key("name"),
                format!("there is no volume {:?}", excerpt(&mount.name)),
                &mount.name,
                volumes.iter().map(|v| v.name.as_str()),
            );
        }
        let at = &mount.mount_path;
        let path_of_path = path.key("mountPath");
        if at.is_empty() {
            missing(report, &path_of_path);
        } else if !at.starts_with('/') || at.split('/').any(|part| part == "..") || at.contains(':')
        {
            let message = format!(
                "{:?} is not an absolute path without \"..\" and ':'",
                excerpt(at)
            );
            report.at(&path_of_path, message);
        } else if !seen.insert(at.trim_end_matches('/')) {
            report.at(&path_of_path, format!("{:?} is used twice", excerpt(at)));
        }
        if let Some(sub) = &mount.sub_path
            && (sub.starts_with('/') || sub.split('/').any(|part| part == ".."))
        {
            let message = format!("{:?} is not a relative path without \"..\"", excerpt(sub));
            report.at(&path.key("subPath"), message);
        }
        if mount.sub_path.is_some() && mount.sub_path_expr.is_some() {
            let message = "subPath and subPathExpr are given; only one of them can be";
            report.at(&path.key("subPathExpr"), message);
        }
    }
}
