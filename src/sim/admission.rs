//! Admission: what a valid pod must still pass before it is stored.

use serde_json::Value;

use super::denial::{Operation, Review};
use super::resources::Resource;
use super::status::ApiError;
use super::world::{ServerVersion, World};
use super::{json, limit_range, quota, validation};

impl World {
    /// Completes a new pod and lets it pass, or says why not.
    pub(super) fn admit_pod(&self, pod: &mut Value) -> Result<(), ApiError> {
        self.drop_unknown(pod);
        // What cannot be read has been refused.
        let _ = validation::normalise(&mut pod["spec"]);
        for range in self.in_namespace(Resource::LimitRanges, pod) {
            limit_range::default_pod(&range, pod);
        }
        self.admit(Operation::Create, None, pod)
    }

    /// Releases that do not know resources of a pod as a whole drop them.
    pub(super) fn drop_unknown(&self, pod: &mut Value) {
        if self.version < ServerVersion::V1_36 {
            json::object(pod, &["spec"]).shift_remove("resources");
        }
    }

    /// Lets a resized pod pass, or says why not.
    pub(super) fn admit_resized_pod(&self, old: &Value, new: &Value) -> Result<(), ApiError> {
        self.admit(Operation::Resize, Some(old), new)
    }

    fn admit(
        &self,
        operation: Operation,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), ApiError> {
        let name = json::text(new, "/metadata/name");
        let refused = |why: Option<String>| {
            why.map_or(Ok(()), |why| Err(ApiError::forbidden(Resource::Pods, name, &why)))
        };
        for range in self.in_namespace(Resource::LimitRanges, new) {
            refused(limit_range::refusal(&range, new))?;
        }
        self.review(operation, Resource::Pods, new)?;
        let quotas = self.in_namespace(Resource::ResourceQuotas, new);
        if quotas.is_empty() {
            return Ok(());
        }
        let pods = self.in_namespace(Resource::Pods, new);
        for quota in quotas {
            let used = quota::used(&quota, pods.iter());
            refused(quota::refusal(&quota, &used, old, new))?;
        }
        Ok(())
    }

    /// Asks the rules of the cluster's owners.
    pub(super) fn review(
        &self,
        operation: Operation,
        resource: Resource,
        object: &Value,
    ) -> Result<(), ApiError> {
        let review = Review { resource, operation, object };
        self.denials.iter().try_for_each(|denial| denial.check(&review))
    }

    /// The objects of a kind in the namespace of `object`.
    fn in_namespace(&self, resource: Resource, object: &Value) -> Vec<Value> {
        let namespace = json::text(object, "/metadata/namespace");
        self.store.range(resource, Some(namespace), None).map(|object| object.value()).collect()
    }

    /// Writes into a quota what is used of it.
    pub(super) fn count_quota(&mut self, object: Value) {
        let pods = self.in_namespace(Resource::Pods, &object);
        let mut counted = object.clone();
        json::set(&mut counted, &["status"], "hard", quota::hard(&object).to_value());
        json::set(&mut counted, &["status"], "used", quota::used(&object, pods.iter()).to_value());
        if counted != object {
            self.store.put(Resource::ResourceQuotas, counted);
        }
    }

    /// Has the quotas of a namespace counted anew.
    pub(super) fn recount_quotas(&mut self, namespace: &str) {
        let quotas = self.store.range(Resource::ResourceQuotas, Some(namespace), None);
        let quotas: Vec<_> = quotas.map(|quota| quota.key.clone()).collect();
        for quota in quotas {
            self.reconcile_soon(Resource::ResourceQuotas, &quota);
        }
    }
}
