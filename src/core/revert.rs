//! What puts the containers of a pod back to what their template gives.

use std::collections::BTreeMap;

use crate::plan::{Change, Plan};
use crate::pod::{ContainerResources, Pod, PodContainer};
use crate::quantity;
use crate::resource::Resource;

/// The resources of the containers of a template, by their names.
pub type Template = BTreeMap<String, ContainerResources>;

/// Whether this service has resized the pod, or the API server has made it with what this service
/// has written down. What others have changed is theirs.
pub fn is_ours(pod: &Pod) -> bool {
    pod.resized_at.is_some() || pod.containers.iter().any(|of| of.template.is_some())
}

/// What leads back to the template. A container that is not in it, as one that a webhook has added,
/// goes back to what it was made for, if that is known. What the template does not name stays.
pub fn back(pod: &Pod, template: &Template) -> Plan {
    let changes = pod.containers.iter().filter_map(|container| {
        let made_for = template.get(&*container.name).or(container.template.as_deref())?;
        let change = change(container, made_for);
        (change != Change::default()).then(|| (container.name.to_string(), change))
    });
    changes.collect()
}

fn change(container: &PodContainer, template: &ContainerResources) -> Change {
    let mut change = Change::default();
    for resource in Resource::ALL {
        let name = resource.name();
        let differs = |wanted: &String, now: Option<&String>| {
            let amount = |text: &str| quantity::amount(resource, text);
            now.is_none_or(|now| amount(now) != amount(wanted))
        };
        let now = &container.resources;
        let limit = template.limits.get(name);
        // The API server gives a container without a request its limit as one.
        let request = template.requests.get(name).or(limit);
        if let Some(limit) = limit.filter(|limit| differs(limit, now.limits.get(name))) {
            change.limits.insert(name.to_owned(), limit.clone());
        }
        if let Some(request) = request.filter(|request| differs(request, now.requests.get(name))) {
            change.requests.insert(name.to_owned(), request.clone());
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::pod_key;

    fn resources(request: &str, limit: &str) -> ContainerResources {
        let mut given = ContainerResources::new(&[("cpu", request)], &[("cpu", limit)]);
        given.requests.retain(|_, text| !text.is_empty());
        given.limits.retain(|_, text| !text.is_empty());
        given
    }

    fn pod(container: PodContainer) -> Pod {
        let key = pod_key("shop", "web-1", "u");
        Pod::new(key, vec![container])
    }

    #[test]
    fn what_differs_from_the_template_goes_back_to_it() {
        for (now, template, expected) in [
            (("200m", "400m"), ("500m", "1"), Some(("500m", "1"))),
            (("500m", "400m"), ("500m", "1"), Some(("", "1"))),
            (("0.5", "1000m"), ("500m", "1"), None),
            (("200m", "200m"), ("", "1"), Some(("1", "1"))),
            (("200m", "400m"), ("", ""), None),
        ] {
            let container = PodContainer::new("app", resources(now.0, now.1));
            let template = Template::from([("app".into(), resources(template.0, template.1))]);
            let expected = expected.map(|(request, limit)| {
                let of = resources(request, limit);
                let requests = of.requests.into_iter().collect();
                let limits = of.limits.into_iter().collect();
                Plan::from([("app".into(), Change { requests, limits })])
            });
            assert_eq!(back(&pod(container), &template), expected.unwrap_or_default(), "{now:?}");
        }
    }

    #[test]
    fn a_container_that_a_webhook_has_added_goes_back_to_what_it_was_made_for() {
        let container = PodContainer::new("proxy", resources("100m", "200m"));
        assert!(back(&pod(container.clone()), &Template::new()).is_empty());
        let template = Some(resources("300m", "600m").into());
        let born = pod(PodContainer { template, ..container.clone() });
        assert_eq!(back(&born, &Template::new())["proxy"].limits["cpu"], "600m");
        assert!(is_ours(&born) && !is_ours(&pod(container)));
    }
}
