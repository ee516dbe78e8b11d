//! Whether the kernel killed for want of memory in our cgroup, v1 or v2.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The counter of OOM kills at one time.
#[derive(Debug)]
pub(crate) struct OomKills {
    source: Option<PathBuf>,
    before: u64,
}

impl OomKills {
    /// Finds the counter and remembers what it says.
    pub(crate) fn remember() -> OomKills {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let source = candidates(&cgroups)
            .into_iter()
            .find(|path| count(path).is_some());
        let before = source.as_deref().and_then(count).unwrap_or(0);
        OomKills { source, before }
    }

    /// Whether it says more now.
    pub(crate) fn happened(&self) -> bool {
        self.source
            .as_deref()
            .and_then(count)
            .is_some_and(|now| now > self.before)
    }
}

/// Where the counter may be, by the lines `id:controllers:path`. Inside a container the path may be
/// the host's, while the container's own cgroup is mounted at the root: so both are tried.
fn candidates(cgroups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|c| c == "memory") {
            let root = Path::new(ROOT).join("memory");
            found.extend([root.join(path), root].map(|dir| dir.join("memory.oom_control")));
        } else if controllers.is_empty() {
            let root = Path::new(ROOT);
            found.extend([root.join(path), root.to_owned()].map(|dir| dir.join("memory.events")));
        }
    }
    found
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let v1 = candidates("9:cpu,memory:/kubepods/pod1\n1:name=systemd:/\n0::/\n");
        assert_eq!(
            v1.first(),
            Some(&PathBuf::from(
                "/sys/fs/cgroup/memory/kubepods/pod1/memory.oom_control"
            ))
        );
        let v2 = candidates("0::/user.slice\n");
        assert_eq!(
            v2,
            [
                "/sys/fs/cgroup/user.slice/memory.events",
                "/sys/fs/cgroup/memory.events"
            ]
            .map(PathBuf::from)
        );
        assert!(candidates("nonsense\n\n:::\n").len() <= 2);
    }
}
