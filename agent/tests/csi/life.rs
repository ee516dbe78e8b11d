//! A pod's folder from its making to its end, with everything that may come between.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_events::What;
use baton_steps::{Cause, Death, Phase, Plan};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::bench::{finish, finish_later, on_a_node, order, unpublish, until};

#[test]
#[ignore = "needs root"]
fn a_pod_is_published_ordered_and_unpublished_each_as_often_as_asked() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a", "b"]);
        let (request, root) = (bench.request("u-1", &plan), bench.target("u-1"));
        for _ in 0..3 {
            node.node_publish_volume(request.clone()).await.unwrap();
        }
        assert_eq!(bench.mounts().len(), 2, "{:?}", bench.mounts());
        until("the first turn", || order(&root) == "1").await;
        let folder = fs::metadata(root.join("steps/1")).unwrap();
        assert_eq!(folder.mode() & 0o7777, 0o777);
        let tool = root.join("bin/entrypoint");
        assert_eq!(fs::read_to_string(&tool).unwrap(), "entrypoint 1");
        assert_eq!(fs::metadata(&tool).unwrap().mode() & 0o7777, 0o755);
        for tamper in [fs::write(&tool, "x"), fs::remove_file(&tool)] {
            assert_eq!(tamper.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        }

        finish(&root, 1, &[("digest", "sha256:1")]);
        until("the second turn", || order(&root) == "2").await;
        finish(&root, 2, &[]);
        unpublish(&mut node, "u-1", &root).await.unwrap();
        assert!(!root.exists());
        assert_eq!(bench.mounts(), [] as [String; 0]);
        assert_eq!(bench.records(), 0);
        for _ in 0..2 {
            unpublish(&mut node, "u-1", &root).await.unwrap();
        }
        let told = bench.told.all();
        let results: Vec<_> = told
            .iter()
            .filter_map(|told| match &told.what {
                What::StepFinished { results, .. } => Some(results.len()),
                _ => None,
            })
            .collect();
        assert_eq!(results, [1, 0]);
        assert!(told.iter().all(|t| t.pod.to_string() == "ns/pod"));
        assert_eq!(bench.told.outcomes()[0].phase, Phase::Succeeded);
        assert!(agent.turns.pods().is_empty());
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn pods_go_on_after_a_restart_and_those_that_are_gone_are_forgotten() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a", "b", "c"]);
        let (root, gone) = (bench.target("u-1"), bench.target("u-2"));
        for uid in ["u-1", "u-2"] {
            let request = bench.request(uid, &plan);
            node.node_publish_volume(request).await.unwrap();
        }
        agent.stop().await;
        let registry = bench.kubelet().join("plugins_registry");
        assert_eq!(fs::read_dir(registry).unwrap().count(), 0);
        finish(&root, 1, &[]);
        umount2(&gone, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir_all(bench.kubelet().join("pods/u-2")).unwrap();

        bench.tools("2");
        let agent = bench.start().await;
        until("the second turn", || order(&root) == "2").await;
        let uids: Vec<_> = agent
            .turns
            .pods()
            .iter()
            .map(|p| p.pod.uid.clone())
            .collect();
        assert_eq!(uids, ["u-1"]);
        assert_eq!(bench.records(), 1);
        // A running pod keeps the tools that it has; a new one has the new ones.
        let mut node = bench.register().await;
        let new = bench.target("u-3");
        let request = bench.request("u-3", &plan);
        node.node_publish_volume(request).await.unwrap();
        let tool = |root: &Path| fs::read_to_string(root.join("bin/init")).unwrap();
        assert_eq!(
            (tool(&root).as_str(), tool(&new).as_str()),
            ("init 1", "init 2")
        );
        let plugin = bench.kubelet().join("plugins/csi.baton.dev");
        let left = fs::read_dir(plugin).unwrap().count();
        assert_eq!(left, 3, "tools, socket and lock");

        // Its pod is deleted while the second step has its turn.
        unpublish(&mut node, "u-1", &root).await.unwrap();
        unpublish(&mut node, "u-3", &new).await.unwrap();
        assert_eq!(bench.mounts(), [] as [String; 0]);
        let [first, ..] = &bench.told.outcomes()[..] else {
            panic!("{:?}", bench.told.all());
        };
        let Some(Cause::Died { number: 2, how, .. }) = &first.cause else {
            panic!("{first:?}");
        };
        assert_eq!(how, &Death::Gone);
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_whose_folder_is_lost_does_not_begin_again() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let plan = Plan::of_steps(["a", "b"]);
        let (request, root) = (bench.request("u-1", &plan), bench.target("u-1"));
        node.node_publish_volume(request.clone()).await.unwrap();
        until("the first turn", || order(&root) == "1").await;
        agent.stop().await;
        // As after a crash of the machine: the disk is there, mounts are not.
        umount2(&root, MntFlags::MNT_DETACH).unwrap();

        let agent = bench.start().await;
        let mut node = bench.register().await;
        assert!(agent.turns.pods().is_empty());
        for _ in 0..2 {
            node.node_publish_volume(request.clone()).await.unwrap();
            // Past every step: none starts, `finally` steps included.
            assert_eq!(order(&root), "3");
            assert_eq!(order(&root.join("turns/1")), "3");
        }
        agent.stop().await;
        let agent = bench.start().await;
        let mut node = bench.register().await;
        node.node_publish_volume(request).await.unwrap();
        unpublish(&mut node, "u-1", &root).await.unwrap();
        agent.stop().await;
        assert_eq!(bench.mounts(), [] as [String; 0]);
        assert_eq!(bench.records(), 0);
        let outcomes = bench.told.outcomes();
        let [outcome] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(outcome.phase, Phase::Failed);
        assert!(matches!(
            outcome.cause,
            Some(Cause::Died {
                how: Death::FolderLost,
                ..
            })
        ));
    });
}

#[test]
#[ignore = "needs root"]
fn a_lost_run_counts_as_told_once_that_is_kept() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let (request, root) = (
            bench.request("u-1", &Plan::of_steps(["a"])),
            bench.target("u-1"),
        );
        node.node_publish_volume(request.clone()).await.unwrap();
        agent.stop().await;
        umount2(&root, MntFlags::MNT_DETACH).unwrap();
        let agent = bench.start().await;
        let mut node = bench.register().await;
        bench.told.held.store(true, Ordering::SeqCst);
        let mut publishing = std::pin::pin!(node.node_publish_volume(request));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut publishing).await;
        assert!(
            early.is_err(),
            "it was killed here, and nobody knows: {early:?}"
        );
        let record = fs::read_to_string(bench.path("state/pods/u-1.json")).unwrap();
        assert!(!record.contains("\"lost\""), "{record}");
        bench.told.held.store(false, Ordering::SeqCst);
        publishing.await.unwrap();
        let record = fs::read_to_string(bench.path("state/pods/u-1.json")).unwrap();
        assert!(record.contains("\"lost\":true"), "{record}");
        assert_eq!(bench.told.outcomes().len(), 1);
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn what_was_made_by_halves_is_made_anew() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let root = bench.target("u-1");
        fs::create_dir(&root).unwrap();
        let tmpfs = || {
            let none = None::<&str>;
            mount(Some("baton"), &root, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        };
        tmpfs();
        fs::create_dir_all(root.join("steps/1")).unwrap();
        fs::write(root.join("order"), "2").unwrap();
        tmpfs();
        let request = bench.request("u-1", &Plan::of_steps(["a", "b"]));
        node.node_publish_volume(request).await.unwrap();
        until("the first turn", || order(&root) == "1").await;
        assert_eq!(bench.mounts().len(), 2, "{:?}", bench.mounts());
        unpublish(&mut node, "u-1", &root).await.unwrap();
        assert_eq!(bench.mounts(), [] as [String; 0]);
        agent.stop().await;
    });
}

#[test]
#[ignore = "needs root"]
fn the_kubelet_finds_the_plugin_again_after_its_folder_was_wiped() {
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        bench.register().await;
        let registered = agent.plugin.registered();
        until("registered", || *registered.borrow()).await;
        let registry = bench.kubelet().join("plugins_registry");
        let socket = registry.join("csi.baton.dev-reg.sock");
        fs::remove_file(&socket).unwrap();
        until("the socket is there again", || socket.exists()).await;
        assert!(!*registered.borrow());
        bench.register().await;
        // The socket may be made again before its folder goes.
        until("the folder is gone", || {
            fs::remove_dir_all(&registry).is_ok()
        })
        .await;
        until("it is known to be gone", || !*registered.borrow()).await;
        fs::create_dir(&registry).unwrap();
        until("the socket is there again", || socket.exists()).await;
        bench.register().await;
        assert!(agent.plugin.is_alive() && agent.turns.is_alive());
        // Another agent does not take it.
        assert!(bench.open(&agent.turns).is_err());
        assert!(socket.exists());
        agent.stop().await;
        assert!(!socket.exists());
    });
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_its_steps_fill_still_gets_its_orders() {
    /// So many that what is remembered of them needs room that nobody else gives free.
    const STEPS: u32 = 60;
    on_a_node(|bench| async move {
        let agent = bench.start().await;
        let mut node = bench.register().await;
        let (request, root) = (
            bench.request("u-1", &Plan::of_steps((0..=STEPS).map(|i| i.to_string()))),
            bench.target("u-1"),
        );
        node.node_publish_volume(request).await.unwrap();
        until("the first turn", || order(&root) == "1").await;
        let ends: Vec<_> = (1..=STEPS).map(|n| finish_later(&root, n)).collect();
        let mut out = fs::File::create(root.join("steps/1/stdout")).unwrap();
        let full = |e: &std::io::Error| e.kind() == ErrorKind::StorageFull;
        while let Ok(more) = out.write(&[0; 1 << 16]) {
            assert!(more > 0);
        }
        let files = (0..).map(|i| fs::write(root.join(format!("steps/1/results/{i}")), ""));
        let no_more = files.take(100_000).find_map(Result::err);
        assert!(no_more.as_ref().is_some_and(full), "{no_more:?}");
        for (turn, end) in (2..).zip(ends) {
            end();
            until("the next turn", || order(&root) == format!("{turn}")).await;
        }
        agent.turns.cancel("u-1");
        let first = root.join("turns/1");
        until("the cancel", || order(&first) == "-1").await;
        unpublish(&mut node, "u-1", &root).await.unwrap();
        let warned = |what: &What| matches!(what, What::Warning { message, .. } if message.contains("is full"));
        assert!(bench.told.all().iter().any(|told| warned(&told.what)));
        agent.stop().await;
    });
}
