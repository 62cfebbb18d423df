use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::{Api, ResourceExt};

use super::*;

#[tokio::test]
async fn a_watch_tells_of_changes_in_and_out_of_its_selection() {
    let cluster = Cluster::with_web().await;
    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    let version =
        api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let name = cluster.first_pod("web").await;
    let mut events =
        pin!(api.watch(&WatchParams::default().labels("tier=front"), &version).await.unwrap());
    let path = format!("{PODS}/{name}");
    for tier in ["front", "back", "front"] {
        assert_eq!(
            cluster.patch(&path, json!({ "metadata": { "labels": { "tier": tier } } })).await.0,
            200
        );
    }
    assert_eq!(cluster.delete(&format!("{path}?gracePeriodSeconds=0")).await.0, 200);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(pod) => ("added", pod.labels()["tier"].clone()),
            WatchEvent::Deleted(pod) => ("deleted", pod.labels()["tier"].clone()),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        seen,
        ["added", "deleted", "added", "deleted"].map(|kind| (kind, "front".to_owned()))
    );
}

#[tokio::test]
async fn a_watch_ends_when_it_said_with_a_bookmark() {
    let cluster = Cluster::start(ServerVersion::default(), |_| {}).await;
    let (code, text) = cluster
        .get("/api/v1/pods?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0")
        .await;
    assert_eq!((code, &text["type"]), (200, &json!("BOOKMARK")));
    assert_eq!(text["object"]["kind"], "Pod");
    assert!(
        text["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
            > 1000
    );
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_gone() {
    let cluster = Cluster::with_web().await;
    let (code, event) =
        cluster.get("/api/v1/pods?watch=true&resourceVersion=1&timeoutSeconds=5").await;
    assert_eq!(code, 200, "the API server reports it in the stream");
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
}

#[tokio::test]
async fn watchers_follow_with_lists_and_with_streaming_lists() {
    let cluster = Cluster::with_web().await;
    for strategy in [InitialListStrategy::ListWatch, InitialListStrategy::StreamingList] {
        let api: Api<Pod> = Api::default_namespaced(cluster.client());
        let page_size = (strategy == InitialListStrategy::ListWatch).then_some(2);
        let config = watcher::Config {
            initial_list_strategy: strategy,
            page_size,
            ..watcher::Config::default()
        };
        let mut events = pin!(watcher::watcher(api, config));
        let mut initial = 0;
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Init => {}
                Event::InitApply(_) => initial += 1,
                Event::InitDone => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(initial, 3);
        let name = cluster.first_pod("web").await;
        cluster
            .patch(
                &format!("{PODS}/{name}"),
                json!({ "metadata": { "annotations": { "seen": "yes" } } }),
            )
            .await;
        let Event::Apply(pod) = events.next().await.unwrap().unwrap() else {
            panic!("a change was made")
        };
        assert_eq!(pod.name_any(), name);
        cluster
            .patch(&format!("{PODS}/{name}"), json!({ "metadata": { "annotations": null } }))
            .await;
    }
}

#[tokio::test]
async fn streaming_lists_are_refused_where_they_are_off() {
    let cluster = Cluster::start(ServerVersion::V1_33, |_| {}).await;
    let path = "/api/v1/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=true\
        &resourceVersionMatch=NotOlderThan";
    let (code, status) = cluster.get(path).await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().contains("WatchList feature gate"), "{status}");
}
