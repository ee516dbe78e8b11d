//! What is known of the pods whose folders are here, on the host's disk: one file a pod.
//!
//! A record says that the pod may have begun. It is on the disk before the first step has its turn, and
//! is removed with the pod's folder; so a pod with a record and without its folder, as after a crash of
//! the machine, is one whose run was lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use baton_events::PodRef;
use baton_steps::{MAX_PLAN_BYTES, Plan};
use serde::{Deserialize, Serialize};

use super::target::Target;
use super::{Publish, VolumeError};

/// Largest record that is read, in bytes: a plan, which JSON writes as a string, and some names.
const MAX_RECORD: u64 = 2 * MAX_PLAN_BYTES as u64 + 4096;

/// What is known of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) publish: Publish,
    /// The boot of the machine in which the folder was made.
    pub(super) boot: String,
    /// Its run was lost, and that was told.
    pub(super) lost: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    version: u32,
    pod: PodRef,
    volume_id: String,
    volume: String,
    plan: String,
    boot: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    /// Opens the folder of the records, and makes it where there is none.
    pub(super) fn open(state_dir: &Path) -> Result<Records, VolumeError> {
        let dir = state_dir.join("pods");
        fs::create_dir_all(&dir).map_err(|e| VolumeError::io("make the folder", &dir, e))?;
        Ok(Records { dir })
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.dir.join(format!("{uid}.json"))
    }

    /// Writes a record; it is on the disk when this returns.
    pub(super) fn write(&self, record: &Record) -> Result<(), VolumeError> {
        let Publish {
            volume_id,
            pod,
            target,
            plan,
        } = &record.publish;
        let written = Written {
            version: 1,
            pod: pod.clone(),
            volume_id: volume_id.clone(),
            volume: target.volume().to_owned(),
            plan: plan.to_json(),
            boot: record.boot.clone(),
            lost: record.lost,
        };
        let path = self.path(&pod.uid);
        let next = path.with_extension("next");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&serde_json::to_vec(&written)?)?;
            file.sync_data()?;
            fs::rename(&next, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| VolumeError::io("write the record", &path, e))
    }

    /// The record of a pod; `None` where there is none, or none that can be used.
    pub(super) fn read(&self, uid: &str) -> Result<Option<Record>, VolumeError> {
        let path = self.path(uid);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|f| f.take(MAX_RECORD + 1).read_to_end(&mut text));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(VolumeError::io("read the record", path, e)),
            Ok(_) => {}
        }
        match parse(uid, &text) {
            Ok(record) => Ok(Some(record)),
            Err(why) => Err(VolumeError::io(
                "use the record",
                path,
                io::Error::other(why),
            )),
        }
    }

    pub(super) fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        let path = self.path(uid);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::io("remove the record", path, e))
            }
            _ => Ok(()),
        }
    }

    /// The UIDs of all pods that have a record. Those half written are removed.
    pub(super) fn uids(&self) -> Result<Vec<String>, VolumeError> {
        let failed = |e| VolumeError::io("read the folder", &self.dir, e);
        let mut uids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|s| s.to_str());
            match (path.extension().and_then(|e| e.to_str()), stem) {
                (Some("json"), Some(uid)) => uids.push(uid.to_owned()),
                (Some("next"), _) => {
                    // It never became a record; one that stays is overwritten some day.
                    let _ = fs::remove_file(&path);
                }
                _ => {}
            }
        }
        Ok(uids)
    }
}

fn parse(uid: &str, text: &[u8]) -> Result<Record, String> {
    if text.len() as u64 > MAX_RECORD {
        return Err(format!("it is longer than {MAX_RECORD} bytes"));
    }
    let written: Written = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    if written.version != 1 || written.pod.uid != uid {
        return Err(format!(
            "it is of version {} and for pod {}",
            written.version, written.pod.uid
        ));
    }
    let target = Target::of(uid, &written.volume).ok_or("it names no volume")?;
    Ok(Record {
        publish: Publish {
            volume_id: written.volume_id,
            pod: written.pod,
            target,
            plan: Plan::from_json(&written.plan).map_err(|e| e.to_string())?,
        },
        boot: written.boot,
        lost: written.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_bad_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let record = Record {
            publish: Publish {
                volume_id: "csi-1".into(),
                pod: PodRef {
                    namespace: "ns".into(),
                    name: "pod".into(),
                    uid: "u-1".into(),
                },
                target: Target::of("u-1", "baton").unwrap(),
                plan: Plan::of_steps(["a"]),
            },
            boot: "b".into(),
            lost: false,
        };
        assert_eq!(records.read("u-1").unwrap(), None);
        records.write(&record).unwrap();
        assert_eq!(records.read("u-1").unwrap(), Some(record));
        assert_eq!(records.uids().unwrap(), ["u-1"]);
        let path = dir.path().join("pods/u-1.json");
        fs::copy(&path, dir.path().join("pods/u-2.json")).unwrap();
        assert!(records.read("u-2").is_err());
        fs::write(&path, "{").unwrap();
        let message = records.read("u-1").unwrap_err().to_string();
        assert!(message.starts_with("cannot use the record"), "{message}");
        records.remove("u-1").unwrap();
        records.remove("u-1").unwrap();
        assert_eq!(records.read("u-1").unwrap(), None);
    }
}
