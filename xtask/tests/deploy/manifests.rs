//! The objects that the manifests describe.
//!
//! Invariant: what is read has no field that its kind does not have, no field twice, and no namespace, which is for
//! whoever applies it to say.

use std::collections::BTreeMap;
use std::iter;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, PodSpec, PodTemplateSpec, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Files;

/// Labels, or what is selected by them.
pub type Labels = BTreeMap<String, String>;

/// All objects, by kind. Other kinds are refused: among them roles, since a job asks nothing of the API.
#[derive(Default)]
pub struct Manifests {
    pub accounts: Vec<ServiceAccount>,
    pub config_maps: Vec<ConfigMap>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub services: Vec<Service>,
    pub policies: Vec<NetworkPolicy>,
    pub budgets: Vec<PodDisruptionBudget>,
    pub workloads: Vec<Workload>,
}

/// What pods are made of, whichever kind makes them.
pub struct Workload {
    pub name: String,
    pub replicas: i32,
    pub selector: LabelSelector,
    pub labels: Labels,
    pub pod: PodSpec,
    /// Claims of each pod's own.
    pub claims: Vec<String>,
    /// The service that names the pods.
    pub service: Option<String>,
}

impl Manifests {
    /// The objects in `files`, and what is wrong with those that are none.
    pub fn read(files: &Files) -> (Self, Vec<String>) {
        let (mut manifests, mut problems) = (Manifests::default(), Vec::new());
        for (file, text) in files {
            match serde_saphyr::from_multiple::<Value>(text) {
                Ok(documents) => {
                    let refused = documents.into_iter().filter_map(|document| manifests.add(document).err());
                    problems.extend(refused.map(|why| format!("{file}: {why}")));
                }
                Err(error) => problems.push(format!("{file}: {error}")),
            }
        }
        (manifests, problems)
    }

    fn add(&mut self, document: Value) -> Result<(), String> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let added = match (version.as_str(), kind.as_str()) {
            ("v1", "ServiceAccount") => typed(document).map(|object| self.accounts.push(object)),
            ("v1", "ConfigMap") => typed(document).map(|object| self.config_maps.push(object)),
            ("v1", "PersistentVolumeClaim") => typed(document).map(|object| self.claims.push(object)),
            ("v1", "Service") => typed(document).map(|object| self.services.push(object)),
            ("networking.k8s.io/v1", "NetworkPolicy") => typed(document).map(|object| self.policies.push(object)),
            ("policy/v1", "PodDisruptionBudget") => typed(document).map(|object| self.budgets.push(object)),
            ("apps/v1", "Deployment") => {
                typed(document).and_then(Workload::of_deployment).map(|it| self.workloads.push(it))
            }
            ("apps/v1", "StatefulSet") => {
                typed(document).and_then(Workload::of_stateful_set).map(|it| self.workloads.push(it))
            }
            _ => Err("this is no kind that a job needs".to_owned()),
        };
        added.map_err(|why| format!("{version} {kind} {name:?}: {why}"))
    }
}

impl Workload {
    fn of_deployment(object: Deployment) -> Result<Self, String> {
        let spec = object.spec;
        Workload::new(object.metadata, spec.replicas, spec.selector, spec.template)
    }

    fn of_stateful_set(object: StatefulSet) -> Result<Self, String> {
        let spec = object.spec;
        let claims = spec.volume_claim_templates.unwrap_or_default().into_iter();
        let claims = claims.filter_map(|claim| claim.metadata.name).collect();
        let workload = Workload::new(object.metadata, spec.replicas, spec.selector, spec.template)?;
        Ok(Workload { claims, service: spec.service_name, ..workload })
    }

    fn new(
        metadata: ObjectMeta,
        replicas: Option<i32>,
        selector: LabelSelector,
        template: PodTemplateSpec,
    ) -> Result<Self, String> {
        let labels = template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        let pod = template.spec.filter(|pod| !pod.containers.is_empty()).ok_or("no container")?;
        let (name, replicas) = (metadata.name.unwrap_or_default(), replicas.unwrap_or(1));
        Ok(Workload { name, replicas, selector, labels, pod, claims: Vec::new(), service: None })
    }

    /// The one container of each pod, which runs the job's program.
    pub fn container(&self) -> &Container {
        &self.pod.containers[0]
    }

    /// Whether a container listens there: `port` is its number or its name.
    pub fn has_port(&self, port: &str) -> bool {
        let ports = self.pod.containers.iter().flat_map(|container| container.ports.iter().flatten());
        let names = |name: Option<String>, number: i32| iter::once(number.to_string()).chain(name);
        ports.flat_map(|of| names(of.name.clone(), of.container_port)).any(|known| known == port)
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, String> {
    if document.pointer("/metadata/name").is_none() {
        return Err("it has no name".to_owned());
    }
    if document.pointer("/metadata/namespace").is_some() {
        return Err("it is bound to a namespace: leave that to who applies it".to_owned());
    }
    // The path has a question mark where a field may be missing.
    let mut unknown = Vec::new();
    let object = serde_ignored::deserialize(document, |path| unknown.push(path.to_string().replace(".?", "")));
    let object = object.map_err(|error| error.to_string())?;
    if unknown.is_empty() { Ok(object) } else { Err(format!("there is no field {}", unknown.join(", "))) }
}
