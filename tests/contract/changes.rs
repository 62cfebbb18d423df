//! `/changes`: what was done, apart from what was decided.

use super::workloads::storing;
use super::*;

async fn resize(service: &Service, pod: &str, cpu: &str) -> StatusCode {
    let body = json!({"containers": {"app": {"limits": {"cpu": cpu}}}});
    service.post(&format!("/api/namespaces/default/pods/{pod}/resize"), body).await.0
}

async fn changes(service: &Service, query: &str) -> Vec<Value> {
    let (status, body) = service.get(&format!("/changes?{query}")).await;
    assert_eq!(status, 200, "{body}");
    body["changes"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_change_is_told_with_what_why_by_whom_and_how_it_went() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.2, 200.0));
    let service = Service::on(&simulation, live()).await;
    let name = pods_of(&simulation, "web").remove(0);
    assert!(changes(&service, "").await.is_empty());
    service.post("/scale/all", json!({})).await;
    let [change] = &changes(&service, "").await[..] else { panic!("one change") };
    assert_eq!(
        keys(change),
        [
            "timestamp",
            "cycle",
            "namespace",
            "pod_name",
            "workload",
            "by",
            "replica",
            "course",
            "seconds",
            "message",
            "undone_at",
            "what",
            "containers"
        ]
    );
    assert_eq!((&change["pod_name"], &change["namespace"]), (&json!(name), &json!("default")));
    assert_eq!(change["workload"], "Deployment web");
    assert_eq!((&change["by"], &change["replica"]), (&json!("person"), &json!("alone")));
    assert_eq!(change["course"], "done");
    assert!(change["seconds"].as_f64().unwrap() > 0.0 && change["message"].is_null());
    assert!(change["cycle"].as_str() <= change["timestamp"].as_str(), "{change}");
    assert_eq!(change["what"], "CPU 500m -> 600m: 40 % of the limit was in use");
    assert_eq!(
        change["containers"],
        json!([{"name": "app", "cpu": {
            "request_before": 0.25, "request_after": 0.3, "limit_before": 0.5, "limit_after": 0.6,
            "why": "40 % of the limit was in use"
        }, "memory": null}])
    );
}

#[tokio::test]
async fn decisions_of_pods_that_stay_push_none_of_them_out() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 3, 0.2, 200.0));
    let service = Service::on(&simulation, live()).await;
    service.post("/scale/all", json!({})).await;
    // A thousand decisions are kept, and no fewer can be.
    for _ in 0..340 {
        service.post("/scale/all", json!({})).await;
    }
    let applied = service.get("/decisions?applied=true").await.1["count"].clone();
    assert_eq!((applied, changes(&service, "").await.len()), (json!(0), 3));
}

#[tokio::test]
async fn changes_are_filtered_paged_and_exported() {
    let simulation = cluster(|world| {
        add(world, Resource::Deployments, "web", 1, 0.2, 200.0);
        add(world, Resource::Pods, "lonely", 1, 0.1, 100.0);
    });
    let service = Service::on(&simulation, quiet()).await;
    let web = pods_of(&simulation, "web").remove(0);
    let started = service.get("/changes").await.1["timestamp"].as_str().unwrap().to_owned();
    for (pod, cpu) in [(&*web, "600m"), ("lonely", "700m"), (&*web, "800m")] {
        assert_eq!(resize(&service, pod, cpu).await, 200);
    }
    let sizes = json!({"requests": {"memory": "50Mi"}, "limits": {"memory": "60Mi"}});
    let (path, body) = ("/api/namespaces/default/pods/lonely/resize", json!({"app": sizes}));
    let (status, _) = service.post(path, json!({"containers": body})).await;
    assert_eq!(status, 400, "less than it uses");
    let named = async |query: &str| -> Vec<String> {
        let all = changes(&service, query).await;
        all.iter().map(|change| change["pod_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named("").await, ["lonely", &web, "lonely", &web]);
    assert_eq!(named("limit=1&offset=1").await, std::slice::from_ref(&web));
    assert_eq!(named("search=DEPLOYMENT%20WEB").await, [web.clone(), web.clone()]);
    assert_eq!(named("search=default/lonely&course=done").await, ["lonely"]);
    assert_eq!(named("course=failed").await, ["lonely"]);
    assert_eq!(named("by=person&namespace=default").await.len(), 4);
    assert_eq!(named("by=loop").await.len() + named("namespace=shop").await.len(), 0);
    assert_eq!(named(&format!("from={started}")).await.len(), 4);
    assert_eq!(named(&format!("to={started}")).await.len(), 0);
    let (_, page) = service.get("/changes?limit=2&offset=1").await;
    let numbers = ["found", "offset", "count"].map(|field| page[field].clone());
    assert_eq!(numbers, [json!(4), json!(1), json!(2)]);
    let failed = &changes(&service, "course=failed").await[0];
    assert!(failed["message"].as_str().unwrap().contains("below current usage"), "{failed}");
    for (path, message) in [
        ("limit=0", "limit: must be from 1 to 1000"),
        ("course=well", "course: must be done, pending, fell_back, failed or undone"),
        ("by=me", "by: must be loop, second_look or person"),
        ("from=noon", "from: must be a moment as of RFC 3339: 2026-11-25T10:30:00Z"),
    ] {
        let answer = service.get(&format!("/changes?{path}")).await;
        assert_eq!(answer, (StatusCode::BAD_REQUEST, failure(message)), "{path}");
    }

    let file = service.send(Method::GET, "/changes/export?course=done").await;
    let header = |name: &str| file.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(header("content-disposition"), "attachment; filename=\"changes.csv\"");
    let text = file.text().await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    let columns = "timestamp,cycle,namespace,pod,workload,container,resource,request_before,\
        request_after,limit_before,limit_after,why,by,replica,course,seconds,message,undone_at";
    assert_eq!(lines[0], columns);
    let told = ",Deployment web,app,cpu,0.25,0.25,0.6,0.8,a client of the API asked for it,person,";
    assert!(lines[1].contains(told), "{}", lines[1]);
    let (status, all) = service.get("/changes/export?format=json").await;
    assert_eq!((status.as_u16(), &all["count"]), (200, &json!(4)));
    assert_eq!(all["changes"], json!(changes(&service, "").await));
}

#[tokio::test]
async fn changes_outlive_the_service() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 1, 0.2, 200.0));
    let folder = tempfile::tempdir().unwrap();
    let (first, end) = storing(&simulation, folder.path()).await;
    let web = pods_of(&simulation, "web").remove(0);
    assert_eq!(resize(&first, &web, "600m").await, 200);
    let before = changes(&first, "by=person").await;
    assert_eq!(before.len(), 1);
    drop(first);
    end.await;
    let (second, _end) = storing(&simulation, folder.path()).await;
    assert_eq!(changes(&second, "by=person").await, before);
    assert_eq!(resize(&second, &web, "700m").await, 200);
    assert_eq!(changes(&second, "by=person").await.len(), 2);
}
