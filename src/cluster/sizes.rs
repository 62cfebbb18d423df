//! What new pods are made with: one ConfigMap a namespace, which a policy of the API server applies
//! and which goes with that policy.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::connected::Cluster;
use super::write_limiter::WriteTurn;
use crate::client::FIELD_MANAGER;
use crate::client::error::{Call, ClusterError};
use crate::client::retry::{Deadline, with_retries};

/// As `deploy/components/born-right-sized` names them.
const NAME: &str = "dqn-scaler-sizes";
const POLICY: &str = "dqn-scaler-born-right-sized";
const RESOURCE: &str = "configmaps";

impl Cluster {
    /// The uid of the policy that applies the sizes; None where there is none.
    pub async fn policy_of_sizes(&self) -> Result<Option<String>, ClusterError> {
        let api = Api::<DynamicObject>::all_with(self.client().clone(), &policy());
        let (resource, name) = ("mutatingadmissionpolicies", Some(POLICY.to_owned()));
        let call = Call { verb: "get", resource, namespace: String::new(), name };
        match with_retries(call, Deadline::default(), || api.get_metadata(POLICY)).await {
            Ok(found) => Ok(found.metadata.uid),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What stands there now.
    pub async fn sizes(&self, namespace: &str) -> Result<BTreeMap<String, String>, ClusterError> {
        let api = self.config_maps(namespace);
        let call = Call::on("get", RESOURCE, namespace, NAME);
        match with_retries(call, Deadline::default(), || api.get(NAME)).await {
            Ok(found) => Ok(found.data.unwrap_or_default()),
            Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// All that is to stand there; the policy of that uid owns it.
    pub async fn put_sizes(
        &self,
        namespace: &str,
        sizes: &BTreeMap<String, String>,
        policy_uid: &str,
    ) -> Result<(), ClusterError> {
        let (api, policy) = (self.config_maps(namespace), policy());
        let owner = json!({"apiVersion": policy.api_version, "kind": policy.kind, "name": POLICY,
            "uid": policy_uid});
        let body = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "ownerReferences": [owner]}, "data": sizes}));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let call = Call::on("patch", RESOURCE, namespace, NAME);
        let patch = || api.patch(NAME, &params, &body);
        self.write(call, &WriteTurn::default(), Deadline::default(), patch).await.map(drop)
    }

    pub async fn delete_sizes(&self, namespace: &str) -> Result<(), ClusterError> {
        let api = self.config_maps(namespace);
        let call = Call::on("delete", RESOURCE, namespace, NAME);
        let params = DeleteParams::default();
        let delete = || api.delete(NAME, &params);
        match self.write(call, &WriteTurn::default(), Deadline::default(), delete).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client().clone(), namespace)
    }
}

fn policy() -> ApiResource {
    let kind = "MutatingAdmissionPolicy";
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind))
}
