use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use super::*;

#[tokio::test]
async fn lists_are_selected_by_namespace_labels_and_fields() {
    let cluster = Cluster::start(ServerVersion::default(), |world| {
        add_web(world, 2);
        add(world, "api", 1, json!({}));
        add_namespace(world, "empty");
    })
    .await;
    let count = async |path: &str| {
        let (code, list) = cluster.get(path).await;
        assert_eq!((code, &list["kind"]), (200, &json!("PodList")), "{path}");
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count("/api/v1/pods").await, 3);
    assert_eq!(count("/api/v1/namespaces/empty/pods").await, 0);
    assert_eq!(count("/api/v1/pods?labelSelector=app%20in%20(web)").await, 2);
    assert_eq!(
        count("/api/v1/pods?fieldSelector=status.phase%3DRunning,spec.nodeName%3Dnode-1").await,
        3
    );
    assert_eq!(count("/api/v1/pods?fieldSelector=status.phase%21%3DRunning").await, 0);
    assert_eq!(cluster.get("/api/v1/pods?fieldSelector=spec.secret%3D1").await.0, 400);
    assert_eq!(cluster.get("/api/v1/pods?resourceVersion=soon").await.0, 400);
    assert_eq!(cluster.get("/api/v1/pods?resourceVersion=999999999").await.0, 504);
}

#[tokio::test]
async fn pages_show_one_version_until_it_is_forgotten() {
    let cluster = Cluster::with_web().await;
    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    let all: Vec<_> = api.list(&ListParams::default()).await.unwrap().items;
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items, all[..2]);
    let rest = ListParams::default().continue_token(first.metadata.continue_.as_ref().unwrap());

    let gone = all[2].metadata.name.as_ref().unwrap();
    assert_eq!(cluster.delete(&format!("{PODS}/{gone}?gracePeriodSeconds=0")).await.0, 200);
    let second = api.list(&rest).await.unwrap();
    assert_eq!(second.items, all[2..], "as it was when the first page was read");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(second.metadata.continue_, None);

    cluster.simulation.world().store.compact();
    assert!(matches!(api.list(&rest).await, Err(kube::Error::Api(status)) if status.code == 410));
}

#[tokio::test]
async fn kubectl_gets_tables_and_others_metadata_alone() {
    let cluster = Cluster::with_web().await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let get = async |path: String| {
        let request = cluster.http.get(format!("{}{path}", cluster.base)).header("accept", table);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let list = get(PODS.to_owned()).await;
    let columns: Vec<&str> = list["columnDefinitions"].as_array().unwrap()[..5]
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(list["rows"].as_array().unwrap().len(), 3);
    assert_eq!(list["rows"][0]["cells"].as_array().unwrap()[1..4], ["1/1", "Running", "0"]);
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = get(format!("{DEPLOYMENTS}/web")).await;
    assert_eq!(
        one["rows"][0]["cells"].as_array().unwrap()[..4],
        [json!("web"), json!("3/3"), json!(3), json!(3)]
    );

    let api: Api<Pod> = Api::default_namespaced(cluster.client());
    let metadata = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(
        (metadata.items.len(), metadata.types.kind.as_str()),
        (1, "PartialObjectMetadataList")
    );
}
