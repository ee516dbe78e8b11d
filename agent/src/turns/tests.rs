use super::*;
use std::sync::mpsc;

use baton_events::What;
use baton_node::{Access, prepare};

/// A sink that takes nothing before it is let.
struct Held {
    let_go: mpsc::Receiver<()>,
    kept: mpsc::Sender<Told>,
}

impl Sink for Held {
    fn keep(&mut self, told: Vec<Told>) {
        // An error means that it is let go for good.
        let _ = self.let_go.recv();
        for told in told {
            self.kept.send(told).unwrap();
        }
    }
    fn sync(&mut self) {}
    fn handed_over(&mut self, _: Duration) {}
}

#[tokio::test]
async fn a_pods_folder_is_needed_until_all_is_told_however_often_one_asks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("pod");
    let plan = Plan::of_steps(["a"]);
    prepare(&root, &plan, Access::Owner).unwrap();
    let ((release, let_go), (kept, told)) = (mpsc::channel(), mpsc::channel());
    let turns = Turns::start(Held { let_go, kept }).unwrap();
    let pod = PodRef {
        namespace: "ns".into(),
        name: "p".into(),
        uid: "u".into(),
    };
    turns.add(pod, root, plan).await.unwrap();
    for attempt in 1..=2 {
        let removed = tokio::time::timeout(Duration::from_millis(100), turns.remove("u")).await;
        assert!(removed.is_err(), "attempt {attempt} returned: {removed:?}");
    }
    drop(release);
    turns.remove("u").await.unwrap();
    let ended = told
        .try_iter()
        .any(|t| matches!(t.what, What::TaskFinished { .. }));
    assert!(ended, "the end was told before");
    turns.stop();
}
