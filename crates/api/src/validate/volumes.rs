//! Volumes.

use super::{Names, exactly_one, label, missing};
use crate::core::Volume;
use crate::diagnostic::{FieldPath, excerpt};
use crate::report::Report;

pub(super) fn volumes(volumes: &[Volume], path: &FieldPath, report: &mut Report) {
    let mut names = Names::default();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        label(&volume.name, &path.key("name"), report);
        names.insert(&volume.name, &path, report);
        let mut sources = Vec::new();
        sources.extend(volume.empty_dir.is_some().then_some("emptyDir"));
        sources.extend(volume.host_path.is_some().then_some("hostPath"));
        sources.extend(volume.native().map(|(name, _)| name));
        exactly_one(
            &sources,
            "emptyDir, hostPath or another source",
            &path,
            report,
        );
        if let Some(empty_dir) = &volume.empty_dir {
            let path = path.key("emptyDir");
            if let Some(medium) = &empty_dir.medium
                && !(medium.is_empty() || medium == "Memory" || medium.starts_with("HugePages"))
            {
                let message = format!(
                    "expected \"Memory\", a size of HugePages or nothing, found {:?}",
                    excerpt(medium)
                );
                report.suggest(
                    &path.key("medium"),
                    message,
                    medium,
                    ["Memory", "HugePages"],
                );
            }
            if let Some(limit) = &empty_dir.size_limit
                && !is_quantity(limit)
            {
                let message = "expected a quantity such as 500Mi or 1Gi";
                report.at(&path.key("sizeLimit"), message);
            }
        }
        if let Some(host_path) = &volume.host_path {
            let path = path.key("hostPath").key("path");
            let at = &host_path.path;
            if at.is_empty() {
                missing(report, &path);
            } else if !at.starts_with('/') || at.split('/').any(|part| part == "..") {
                let message = format!("{:?} is not an absolute path without \"..\"", excerpt(at));
                report.at(&path, message);
            }
        }
    }
}

/// Whether this is a quantity that is not negative: a number, or one with a suffix.
pub fn is_quantity(value: &serde_json::Value) -> bool {
    const SUFFIXES: [&str; 15] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi", "E",
    ];
    match value {
        serde_json::Value::Number(n) => n.as_f64().is_some_and(|n| n >= 0.0),
        serde_json::Value::String(text) => {
            let end = text
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(text.len());
            let (digits, suffix) = text.split_at_checked(end).unwrap_or((text, ""));
            let exponent = suffix
                .strip_prefix(['e', 'E'])
                .is_some_and(|e| e.parse::<i8>().is_ok());
            digits.parse::<f64>().is_ok()
                && (SUFFIXES.contains(&suffix) || suffix == "Ei" || exponent)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities() {
        for good in [
            json!("1Gi"),
            json!("500m"),
            json!(3),
            json!("1.5"),
            json!("1e3"),
            json!("2E"),
        ] {
            assert!(is_quantity(&good), "{good}");
        }
        for bad in [
            json!("1gb"),
            json!(""),
            json!("Gi"),
            json!(-1),
            json!("-1"),
            json!([]),
            json!("1.2.3"),
        ] {
            assert!(!is_quantity(&bad), "{bad}");
        }
    }
}
