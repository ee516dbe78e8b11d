//! Folders that the kubelet does not give back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use baton_agent::volume::Left;
use baton_steps::{Cause, Death, Plan};
use nix::mount::{MsFlags, mount};

use crate::bench::{Bench, on_a_node, order, unpublish, until};

/// Mounts a folder of the volume for a container, as the kubelet does.
fn sub_path(bench: &Bench, uid: &str, volume: &str, from: &Path) -> PathBuf {
    let container = format!("pods/{uid}/volume-subpaths/{volume}/c");
    let at = bench.kubelet().join(container).join("1");
    fs::create_dir_all(&at).unwrap();
    let none = None::<&str>;
    mount(Some(from), &at, none, MsFlags::MS_BIND, none).unwrap();
    at
}

#[test]
#[ignore = "needs root"]
fn a_folder_whose_pod_is_gone_is_removed_once_its_entrypoints_are_gone_too() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a", "b"]);
        let (root, other) = (bench.target("u-1"), bench.target("u-2"));
        for uid in ["u-1", "u-2"] {
            let request = bench.request(uid, &plan);
            node.node_publish_volume(request).await.unwrap();
        }
        until("the first turn", || order(&root) == "1").await;
        let ours = sub_path(&bench, "u-1", "baton", &root.join("steps/1"));
        let theirs = sub_path(&bench, "u-1", "other", &bench.path("tools"));
        // The second step's entrypoint waits for its turn.
        let waits = File::options()
            .append(true)
            .open(root.join("steps/2/events"))
            .unwrap();
        assert_eq!(agent.volumes.recorded().await.unwrap().len(), 2);
        assert_eq!(agent.volumes.remove_left("u-1").await.unwrap(), Left::InUse);
        assert_eq!(order(&root), "1");
        assert_eq!(agent.turns.pods().len(), 2);
        drop(waits);
        // After a restart of this program it is the same.
        agent.stop().await;
        let agent = bench.start().await;
        assert_eq!(
            agent.volumes.remove_left("u-1").await.unwrap(),
            Left::Removed
        );
        assert!(!root.exists() && !ours.exists());
        assert!(fs::exists(theirs.join("init")).unwrap(), "another volume's");
        assert_eq!(order(&other), "1", "another pod's");
        assert_eq!(agent.volumes.recorded().await.unwrap(), ["u-2"]);
        let outcomes = bench.told.outcomes();
        let [outcome] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        let Some(Cause::Died { how, .. }) = &outcome.cause else {
            panic!("{outcome:?}");
        };
        assert_eq!(how, &Death::Gone);
        // The kubelet comes late, and there is nothing left to do.
        let mut node = bench.register().await;
        unpublish(&mut node, "u-1", &root).await.unwrap();
        assert_eq!(
            agent.volumes.remove_left("u-1").await.unwrap(),
            Left::Nothing
        );
        assert_eq!(
            agent.volumes.remove_left("u-2").await.unwrap(),
            Left::Removed
        );
        let pods = bench.kubelet().join("pods");
        assert!(!pods.join("u-2/volume-subpaths").exists());
        assert_eq!(bench.mounts(), [theirs.to_str().unwrap()]);
        assert_eq!(bench.records(), 0);
        agent.stop().await;
    });
}
