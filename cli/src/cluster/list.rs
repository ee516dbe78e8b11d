//! `baton list`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use baton_protocol::{Timestamp, exit};
use futures::StreamExt;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::connect::Cluster;
use super::error::{ClusterError, cause, is_final};
use super::kind::Kind;
use super::object::Object;
use super::say;
use super::table::{Row, Table};
use crate::args;
use crate::run::{complain, print_json};
use crate::show::terminal::{Terminal, To};

/// Most objects that are asked for at once.
const PAGE: u32 = 500;

/// Lists objects, and gives the exit code.
pub(super) async fn list(args: &args::List, terminal: &mut Terminal) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    if args.watch && args.output == args::Output::Json {
        say("--watch has no JSON form");
        return Ok(exit::USAGE);
    }
    let (kinds, mut found) = all(&cluster, args, terminal).await?;
    if args.output == args::Output::Json {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": found});
        return Ok(match print_json(&list) {
            Ok(()) => 0,
            Err(e) => {
                complain(terminal, &format!("cannot write the JSON: {e}"));
                exit::FAILED
            }
        });
    }
    // As people look for them: the newest last, where the cursor is.
    found.sort_by_cached_key(key);
    let rows: Vec<Row> = found.iter().map(|t| Row::new(t, now())).collect();
    let mut table = Table::new(args.all_namespaces);
    table.fit(&rows);
    if rows.is_empty() && !args.watch {
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.plural()).collect();
        let kinds = kinds.join(", ");
        let whole = format!("there are no {kinds} in any namespace");
        let one = format!(
            "there are no {kinds} in namespace {}; -A shows those of all",
            cluster.namespace
        );
        complain(terminal, if args.all_namespaces { &whole } else { &one });
        return Ok(0);
    }
    let mut text = table.header(terminal.steps);
    for row in &rows {
        text.push_str(&table.row(row, terminal.steps));
    }
    terminal.put(To::Steps, text.as_bytes());
    terminal.flush();
    if args.watch {
        let known = found.iter().map(id).zip(rows).collect();
        watch(&cluster, &kinds, args, known, &mut table, terminal).await?;
    }
    Ok(0)
}

/// Where the objects of a kind are looked for.
fn objects(cluster: &Cluster, kind: Kind, args: &args::List) -> Api<Object> {
    match args.all_namespaces {
        true => cluster.all_objects(kind),
        false => cluster.objects(kind, &cluster.namespace),
    }
}

/// All objects, and the kinds that could be listed: those that were asked for, or else as many as the
/// cluster has and shows.
async fn all(
    cluster: &Cluster,
    args: &args::List,
    terminal: &mut Terminal,
) -> Result<(Vec<Kind>, Vec<Object>), ClusterError> {
    let mut wanted = args.kinds.clone();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        wanted = Kind::ALL.into();
    }
    let reads = wanted.into_iter().map(|kind| async move {
        let read = pages(&objects(cluster, kind, args), args.selector.as_deref()).await;
        let read = read.map_err(cluster.cannot(format!("list {}", kind.plural())));
        read.map(|objects| (kind, objects))
    });
    let (mut kinds, mut found, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for read in futures::future::join_all(reads).await {
        match read {
            Ok((kind, objects)) => {
                kinds.push(kind);
                found.extend(objects);
            }
            Err(e) => failed.push(e),
        }
    }
    if let Some(e) = failed.pop_if(|_| kinds.is_empty() || !args.kinds.is_empty()) {
        return Err(e);
    }
    for e in failed {
        complain(terminal, &e.to_string());
    }
    Ok((kinds, found))
}

/// All objects of a kind, page by page.
async fn pages(objects: &Api<Object>, selector: Option<&str>) -> kube::Result<Vec<Object>> {
    let mut params = ListParams::default().limit(PAGE);
    params.label_selector = selector.map(str::to_owned);
    let mut found = Vec::new();
    loop {
        let page = objects.list(&params).await?;
        found.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// Shows a line for each change, without end.
async fn watch(
    cluster: &Cluster,
    kinds: &[Kind],
    args: &args::List,
    mut known: BTreeMap<Id, Row>,
    table: &mut Table,
    terminal: &mut Terminal,
) -> Result<(), ClusterError> {
    let config = watcher::Config {
        label_selector: args.selector.clone(),
        ..watcher::Config::default()
    };
    let watches = kinds.iter().map(|kind| {
        let objects = objects(cluster, *kind, args);
        watcher(objects, config.clone()).default_backoff().boxed()
    });
    let mut events = futures::stream::select_all(watches);
    let mut lost = false;
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => object,
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&id(&object));
                continue;
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {
                lost = false;
                continue;
            }
            Err(watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e)) => {
                if is_final(&e) {
                    return Err(cluster.cannot("watch objects")(e));
                }
                if !std::mem::replace(&mut lost, true) {
                    let place = &cluster.place;
                    complain(terminal, &format!("{place} does not answer: {}", cause(&e)));
                }
                continue;
            }
            Err(_) => continue,
        };
        let row = Row::new(&object, now());
        let before = known.insert(id(&object), row.clone());
        if before.is_none_or(|b| !b.same(&row)) {
            table.fit(std::slice::from_ref(&row));
            terminal.put(To::Steps, table.row(&row, terminal.steps).as_bytes());
            terminal.flush();
        }
    }
    Ok(())
}

/// Tells one object from all others.
type Id = (String, Kind, String);

fn id(object: &Object) -> Id {
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    (namespace, object.kind(), name)
}

fn key(object: &Object) -> (String, Option<Duration>, String) {
    let created = object.metadata.creation_timestamp.as_ref();
    let since = created.and_then(|at| {
        let at = SystemTime::from(at.0);
        at.duration_since(SystemTime::UNIX_EPOCH).ok()
    });
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    (namespace, since, name)
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}
