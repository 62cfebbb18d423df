//! How requests are read: paths, queries, bodies, and what every answer has in common.

use super::*;

#[tokio::test]
async fn answers_in_json_end_with_a_newline() {
    let simulation = cluster(|world| add(world, Resource::Deployments, "web", 2, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    for (path, status) in [
        ("/", 200),
        ("/config", 200),
        ("/pods", 200),
        ("/pods/overview", 200),
        ("/decisions", 200),
        ("/openapi.json", 200),
        ("/decisions?limit=0", 400),
        ("/pods/default/nobody", 404),
        ("/nowhere", 404),
    ] {
        let response = service.send(Method::GET, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        let text = response.text().await.unwrap();
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{path}: {text:?}");
    }
    let simulation = cluster(|_| {});
    let service = Service::on(&simulation, quiet()).await;
    let none = service.send(Method::GET, "/pods").await.text().await.unwrap();
    assert_eq!(none, "{\"success\":true,\"count\":0,\"pods\":[]}\n");
}

#[tokio::test]
async fn slashes_in_a_row_are_one() {
    let service = Service::start().await;
    for path in ["//config", "/config", "///config"] {
        assert_eq!(service.get(path).await.0, 200, "{path}");
    }
    for path in ["/pods//default///web", "//pods/default/web"] {
        assert_eq!(service.get(path).await.0, 503, "{path}");
    }
    let (status, answer) = service.get("//decisions?limit=0").await;
    assert_eq!((status.as_u16(), &answer), (400, &failure("limit: must be at least 1")));
    for path in ["//dashboard//app.js", "/docs//swagger-ui.css", "//livez"] {
        assert_eq!(service.send(Method::GET, path).await.status(), 200, "{path}");
    }
    assert_eq!(service.post("//config", json!({"dry_run": false})).await.0, 200);
    let (status, answer) = service.get("//nowhere//at//all").await;
    assert_eq!((status.as_u16(), answer), (404, failure("Endpoint not found")));
}

#[tokio::test]
async fn head_is_answered_wherever_get_is_and_options_everywhere() {
    let simulation = cluster(|world| add(world, Resource::Pods, "postgres-0", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let document = service.get("/openapi.json").await.1;
    let paths = document["paths"].as_object().unwrap();
    let pages = json!({"get": {}});
    let pages =
        ["/dashboard/", "/dashboard/app.js", "/docs/"].map(|path| (path.to_owned(), &pages));
    let known = paths.iter().map(|(path, item)| (path.clone(), item)).chain(pages);
    for (path, item) in known {
        let path = path.replace("{namespace}", "default").replace("{pod_name}", "postgres-0");
        let head = service.send(Method::HEAD, &path).await;
        let expected = match item.get("get") {
            Some(_) => service.send(Method::GET, &path).await.status(),
            None => StatusCode::METHOD_NOT_ALLOWED,
        };
        assert_eq!(head.status(), expected, "HEAD {path}");
        assert_eq!(head.text().await.unwrap(), "", "HEAD {path}");
        for method in [Method::OPTIONS, Method::DELETE] {
            let response = service.send(method.clone(), &path).await;
            let expected = if method == Method::OPTIONS { 200 } else { 405 };
            assert_eq!(response.status(), expected, "{method} {path}");
            let allow = response.headers()["allow"].to_str().unwrap().to_owned();
            let allowed: Vec<_> = allow.split(',').map(str::trim).collect();
            assert!(allowed.contains(&"OPTIONS"), "{method} {path}: {allow}");
            let (get, post) = (item.get("get").is_some(), item.get("post").is_some());
            assert_eq!(allowed.contains(&"HEAD"), get, "{method} {path}: {allow}");
            assert_eq!(allowed.contains(&"POST"), post, "{method} {path}: {allow}");
        }
    }
}

#[tokio::test]
async fn the_first_of_a_parameter_counts() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    assert_eq!(service.get("/decisions?limit=5&limit=0").await.0, 200);
    assert_eq!(service.get("/decisions?limit=0&limit=5").await.0, 400);
    let (status, page) = service.get("/pods/overview?limit=1&limit=many&sort=cpu&sort=size").await;
    assert_eq!((status.as_u16(), &page["count"]), (200, &json!(1)));
    let found = service.get("/pods/overview?search=lonely&search=nobody").await.1;
    assert_eq!(found["found"], 1);
}

#[tokio::test]
async fn what_a_query_leaves_open_is_as_documented() {
    let simulation = cluster(|world| {
        for number in 0..60 {
            add(world, Resource::Pods, &format!("pod-{number}"), 1, 0.01, 10.0);
        }
    });
    let service = Service::on(&simulation, quiet()).await;
    service.send(Method::POST, "/scale/all").await;
    for limit in ["", "many", "5.5", "99999999999999999999"] {
        let (status, answer) = service.get(&format!("/decisions?limit={limit}")).await;
        assert_eq!(status, 200, "{limit}");
        let all = service.get("/decisions?limit=1000").await.1["count"].as_u64().unwrap();
        assert_eq!(answer["count"].as_u64(), Some(all.min(50)), "{limit}");
    }
    for query in [
        "sort=&order=&search=&namespace=&monitored=&status=&offset=&limit=",
        "limit=%2060%20&offset=%200",
        "unknown=1&limit=60",
        "sort=decision&order=desc",
    ] {
        let (status, page) = service.get(&format!("/pods/overview?{query}")).await;
        assert_eq!((status.as_u16(), &page["found"]), (200, &json!(60)), "{query}");
    }
    assert_eq!(service.get("/decisions?action=&applied=&status=&details=&pod=").await.0, 200);
}

#[tokio::test]
async fn what_is_wrong_in_a_query_is_reported() {
    let simulation = cluster(|_| {});
    let service = Service::on(&simulation, quiet()).await;
    for (path, message) in [
        (
            "/pods/overview?sort=size",
            "sort: must be name, cpu, memory, cpu_utilization, memory_utilization or decision",
        ),
        ("/pods/overview?order=up", "order: must be asc or desc"),
        ("/pods/overview?limit=0", "limit: must be from 1 to 500"),
        ("/pods/overview?limit=x", "limit: must be a whole number, not negative"),
        ("/pods/overview?offset=-1", "offset: must be a whole number, not negative"),
        ("/pods/overview?monitored=yes", "monitored: must be true or false"),
        ("/decisions?limit=-1", "limit: must be at least 1"),
        ("/decisions?action=GROW", "action: must be DECREASE, MAINTAIN or INCREASE"),
        (
            "/decisions?status=foo",
            "status: must be one of success, dry_run, no_action_needed, skipped, failed",
        ),
    ] {
        assert_eq!(service.get(path).await, (StatusCode::BAD_REQUEST, failure(message)), "{path}");
    }
}

#[tokio::test]
async fn a_body_may_begin_with_a_byte_order_mark() {
    let service = Service::start().await;
    let post = async |body: &str, kind: &str| {
        let request = service.request(Method::POST, "/config").header("Content-Type", kind);
        answer(request.body(body.to_owned()).send().await.unwrap()).await
    };
    for (body, kind, status) in [
        ("\u{feff}{\"scaling_cooldown\":7}", "application/json", 200),
        ("{\"scaling_cooldown\":7}", "application/json; charset=utf-8", 200),
        ("\u{feff}\u{feff}{}", "application/json", 400),
        ("\u{feff}", "application/json", 400),
        ("{}", "Application/JSON", 200),
        ("{}", "text/json", 400),
        ("{}", "application/merge-patch+json", 400),
    ] {
        assert_eq!(post(body, kind).await.0, status, "{body:?} {kind}");
    }
    assert_eq!(service.get("/config").await.1["scaling_cooldown"], 7);
}

#[tokio::test]
async fn what_is_wrong_in_a_resize_is_reported() {
    let simulation = cluster(|world| add(world, Resource::Pods, "lonely", 1, 0.1, 100.0));
    let service = Service::on(&simulation, quiet()).await;
    let app = |resources: Value| json!({"containers": {"app": resources}});
    for (body, message) in [
        (json!({}), "containers: must be an object of containers with requests or limits"),
        (app(json!({})), "containers.app: names neither requests nor limits"),
        (app(json!({"limits": {}})), "containers.app: names neither requests nor limits"),
        (app(json!(1)), "containers.app: invalid type: integer `1`, expected an object with"),
        (app(json!({"limit": {}})), "containers.app.limit: unknown field `limit`, expected"),
        (app(json!({"limits": null})), "containers.app.limits: invalid type: null, expected"),
        (app(json!({"limits": {"gpu": "1"}})), "containers.app.limits.gpu: unknown field `gpu`"),
        (app(json!({"limits": {"cpu": 1}})), "containers.app.limits.cpu: invalid type: integer"),
        (
            app(json!({"limits": {"cpu": "-1"}})),
            "containers.app.limits.cpu: \"-1\" is not a quantity above 0",
        ),
        (
            app(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            "containers.app: the request of cpu is above its limit",
        ),
    ] {
        let path = "/api/namespaces/default/pods/lonely/resize";
        let (status, answer) = service.post(path, body.clone()).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.starts_with(message), "{body}: {status} {error}");
    }
}

#[tokio::test]
async fn no_page_of_the_internet_is_let_into_a_private_network() {
    let service = Service::start().await;
    let preflight = service
        .request(Method::OPTIONS, "/config")
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Private-Network", "true");
    let response = preflight.send().await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-private-network"));
}
