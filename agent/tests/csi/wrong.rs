//! What is refused, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;

use baton_steps::Plan;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tonic::Code;

use crate::bench::{finish, on_a_node, order, unpublish, until};

#[test]
#[ignore = "needs root"]
fn a_bad_request_is_refused_with_a_sentence_and_leaves_nothing() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a"]);
        let good = bench.request("u-1", &plan);
        let mut foreign = good.clone();
        foreign.volume_context.insert("order".into(), "7".into());
        let mut tampered = good.clone();
        tampered.volume_context.insert("plan".into(), "{}".into());
        let mut elsewhere = good.clone();
        elsewhere.target_path = bench.path("elsewhere").to_str().unwrap().into();
        let mut block = good.clone();
        block.volume_capability = None;
        for (request, sentence) in [
            (foreign, "the volume attribute \"order\" is not known"),
            (tampered, "the volume attribute \"plan\" cannot be used"),
            (elsewhere, "it is not below the kubelet's folder"),
            (block, "no block device"),
        ] {
            let status = node.node_publish_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(status.message().contains(sentence), "{status}");
        }
        assert!(!bench.target("u-1").exists());
        assert_eq!(bench.mounts(), [] as [String; 0]);
        assert_eq!(bench.records(), 0);
        assert!(bench.told.all().is_empty());

        // One volume a pod, and one plan.
        node.node_publish_volume(good.clone()).await.unwrap();
        let mut other = bench.request("u-1", &Plan::of_steps(["other"]));
        let status = node.node_publish_volume(other.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        other = good.clone();
        other.volume_id = "csi-2".into();
        other.target_path = other.target_path.replace("/baton/mount", "/second/mount");
        let second = std::path::PathBuf::from(&other.target_path);
        fs::create_dir_all(second.parent().unwrap()).unwrap();
        let status = node.node_publish_volume(other).await.unwrap_err();
        assert!(status.message().contains("it can have one"), "{status}");
        // The kubelet clears up what it did not get, and the first volume stays.
        unpublish(&mut node, "u-1", &second).await.unwrap();
        assert_eq!(bench.mounts().len(), 2);
        assert_eq!(agent.turns.pods().len(), 1);
        unpublish(&mut node, "u-1", &bench.target("u-1"))
            .await
            .unwrap();
        assert_eq!(bench.mounts(), [] as [String; 0]);
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn no_link_is_followed_and_no_foreign_mount_is_touched() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a"]);
        let victim = bench.path("victim");
        fs::create_dir_all(victim.join("mount")).unwrap();
        let none = None::<&str>;
        let tmpfs = |at: &std::path::Path| {
            mount(Some("x"), at, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        };
        tmpfs(&victim.join("mount"));
        fs::write(victim.join("mount/file"), "").unwrap();
        let request = bench.request("u-1", &plan);
        let target = bench.target("u-1");
        let folder = target.parent().unwrap();
        fs::remove_dir(folder).unwrap();
        symlink(&victim, folder).unwrap();
        node.node_publish_volume(request.clone()).await.unwrap_err();
        unpublish(&mut node, "u-1", &target).await.unwrap_err();
        // The mount point itself a link.
        fs::remove_file(folder).unwrap();
        fs::create_dir(folder).unwrap();
        symlink(victim.join("mount"), &target).unwrap();
        node.node_publish_volume(request.clone()).await.unwrap_err();
        unpublish(&mut node, "u-1", &target).await.unwrap_err();
        assert!(victim.join("mount/file").exists());
        fs::remove_file(&target).unwrap();
        // Something that is mounted there, and not by us.
        fs::create_dir(&target).unwrap();
        mount(Some(&victim), &target, none, MsFlags::MS_BIND, none).unwrap();
        mount(Some("proc"), &target, Some("proc"), MsFlags::empty(), none).unwrap();
        let status = node.node_publish_volume(request).await.unwrap_err();
        assert!(status.message().contains("something else"), "{status}");
        assert!(target.join("self").exists());
        assert_eq!(bench.records(), 0);
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_with_the_whole_volume_holds_up_no_other() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a", "b"]);
        let (hostile, other) = (bench.target("u-1"), bench.target("u-2"));
        for uid in ["u-1", "u-2"] {
            let request = bench.request(uid, &plan);
            node.node_publish_volume(request).await.unwrap();
        }
        for root in [&hostile, &other] {
            until("the first turn", || order(root) == "1").await;
        }
        // Its author mounts the root of the volume for writing, and is root there.
        for name in [".order", ".turn", "facts"] {
            let path = hostile.join(name);
            drop(fs::remove_file(&path));
            mkfifo(&path, Mode::S_IRWXU).unwrap();
        }
        agent.turns.cancel("u-1");
        finish(&other, 1, &[]);
        until("the other's turn", || order(&other) == "2").await;
        agent.stop().await;
        let agent = bench.start().await;
        finish(&other, 2, &[]);
        until("the other's end", || order(&other) == "3").await;
        let mut node = bench.register().await;
        for (uid, root) in [("u-1", &hostile), ("u-2", &other)] {
            unpublish(&mut node, uid, root).await.unwrap();
        }
        assert_eq!(bench.mounts(), [] as [String; 0]);
        assert_eq!(bench.records(), 0);
        agent.stop().await;
    });
}
