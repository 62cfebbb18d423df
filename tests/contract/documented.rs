//! The OpenAPI document and the routes are one.

use std::collections::BTreeSet;

use super::*;

async fn document(service: &Service) -> Value {
    let (status, document) = service.get("/openapi.json").await;
    assert_eq!((status.as_u16(), &document["openapi"]), (200, &json!("3.1.0")));
    document
}

/// Every path and method of the document.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods =
        |(path, item)| keys(item).into_iter().map(move |method| (path, method, &item[method]));
    paths.map(|(path, item)| (path.as_str(), item)).flat_map(methods).collect()
}

#[tokio::test]
async fn no_route_is_left_out_and_none_is_invented() {
    let service = Service::start().await;
    let document = document(&service).await;
    // The router tells its routes to a programmer only.
    let told = format!("{:?}", api::routes(service.state.clone()));
    let told = told.split_once("paths: {").unwrap().1.split_once("fallback_router").unwrap().0;
    let routes: BTreeSet<_> =
        told.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect();
    assert!(routes.len() > 15, "{told}");
    // Pages for people, not for programs.
    let pages =
        ["/docs", "/docs/", "/docs/{*rest}", "/dashboard", "/dashboard/", "/dashboard/{file}"]
            .map(str::to_owned);
    let documented: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(path, _, _)| path.to_owned())
        .chain(pages)
        .collect();
    assert_eq!(routes, documented);
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let simulation = cluster(|world| add(world, Resource::Pods, "postgres-0", 1, 0.1, 100.0));
    for service in [Service::start().await, Service::on(&simulation, quiet()).await] {
        let document = document(&service).await;
        for (path, method, operation) in operations(&document) {
            let known = path.replace("{namespace}", "default").replace("{pod_name}", "postgres-0");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let response = service.send(method.clone(), &known).await;
            let status = response.status().as_u16().to_string();
            let answer = &operation["responses"][&status];
            assert!(
                answer.is_object(),
                "{method} {path} answers {status}, which the document does not know"
            );
            let kind = response.headers()["content-type"]
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned();
            assert!(
                answer["content"].get(&kind).is_some(),
                "{method} {path}: {status} with {kind}, not as in {answer}"
            );
            assert_ne!(status, "500", "{method} {path}");
            // A method that is not in the document is not there.
            let others = ["GET", "POST", "PUT", "DELETE", "PATCH"]
                .map(|name| Method::from_bytes(name.as_bytes()).unwrap());
            let item = &document["paths"][path];
            for other in
                others.iter().filter(|other| item.get(other.as_str().to_lowercase()).is_none())
            {
                assert_eq!(
                    service.send(other.clone(), &known).await.status(),
                    405,
                    "{other} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_operation_and_field_is_described() {
    let service = Service::start().await;
    let document = document(&service).await;
    for (path, method, operation) in operations(&document) {
        assert!(
            operation["summary"].is_string() && operation["tags"].is_array(),
            "{method} {path}"
        );
        for status in ["413", "500"] {
            assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let told = parameter["description"].is_string() && parameter["schema"].is_object();
            assert!(told, "{method} {path}: {parameter}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            let number = ["integer", "number"]
                .iter()
                .any(|kind| of["type"] == *kind || of["type"][0] == *kind);
            let told = of["description"].is_string() || of.get("example").is_some() || !number;
            assert!(told, "{name}.{field} has neither words nor an example");
        }
    }
}

#[tokio::test]
async fn the_document_can_be_read_in_a_browser_without_another_host() {
    let service = Service::start().await;
    let page = service.send(Method::GET, "/docs").await;
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    let page = page.text().await.unwrap();
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert!(page.contains(file), "{page}");
        assert_eq!(
            service.send(Method::GET, &format!("/docs/{file}")).await.status(),
            200,
            "{file}"
        );
    }
    let settings =
        service.send(Method::GET, "/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(
        settings.contains("\"validatorUrl\": \"none\"") && settings.contains("/openapi.json"),
        "{settings}"
    );
    assert!(!page.contains("http") && !settings.contains("http"), "{page} {settings}");
}
