//! What objects say of each other.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifests::{Labels, Manifests, Workload};

/// What does not fit together.
pub fn check(manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for service in &manifests.services {
        problems.extend(check_service(service, manifests).map(|why| of("Service", &service.metadata, why)));
    }
    for budget in &manifests.budgets {
        problems.extend(check_budget(budget, manifests).map(|why| of("PodDisruptionBudget", &budget.metadata, why)));
    }
    for policy in &manifests.policies {
        problems
            .extend(check_policy(policy, manifests).into_iter().map(|why| of("NetworkPolicy", &policy.metadata, why)));
    }
    for workload in &manifests.workloads {
        let found = check_workload(workload, manifests).into_iter().chain(check_volumes(workload, manifests));
        problems.extend(found.map(|why| format!("{}: {why}", workload.name)));
    }
    problems
}

fn of(kind: &str, metadata: &ObjectMeta, why: String) -> String {
    format!("{kind} {}: {why}", metadata.name.as_deref().unwrap_or_default())
}

/// The pods that have all of `wanted`. No label at all would be all pods of the namespace.
fn selected<'a>(wanted: Option<&Labels>, manifests: &'a Manifests) -> Vec<&'a Workload> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Vec::new() };
    let has_all = |labels: &Labels| wanted.iter().all(|(name, value)| labels.get(name) == Some(value));
    manifests.workloads.iter().filter(|workload| has_all(&workload.labels)).collect()
}

fn labels_of(selector: Option<&LabelSelector>) -> Option<&Labels> {
    selector.filter(|selector| selector.match_expressions.is_none())?.match_labels.as_ref()
}

/// The one workload that is selected.
fn only<'a>(wanted: Option<&Labels>, manifests: &'a Manifests) -> Result<&'a Workload, String> {
    match selected(wanted, manifests)[..] {
        [workload] => Ok(workload),
        ref others => Err(format!("it selects the pods of {} workloads", others.len())),
    }
}

fn check_service(service: &Service, manifests: &Manifests) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let workload = match only(spec.selector.as_ref(), manifests) {
        Ok(workload) => workload,
        Err(why) => return Some(why),
    };
    let target = |port: &k8s_openapi::api::core::v1::ServicePort| {
        port.target_port.as_ref().map_or_else(|| port.port.to_string(), text_of)
    };
    let ports = spec.ports.iter().flatten();
    let missing = ports.map(target).find(|port| !workload.has_port(port))?;
    Some(format!("no container of {} listens at port {missing}", workload.name))
}

fn check_budget(budget: &PodDisruptionBudget, manifests: &Manifests) -> Option<String> {
    let spec = budget.spec.as_ref()?;
    let workload = match only(labels_of(spec.selector.as_ref()), manifests) {
        Ok(workload) => workload,
        Err(why) => return Some(why),
    };
    let may_go = match (&spec.min_available, &spec.max_unavailable) {
        (Some(IntOrString::Int(min)), None) => workload.replicas - min,
        (None, Some(IntOrString::Int(max))) => *max,
        _ => return Some("it has no number of pods".to_owned()),
    };
    let guards = (1..workload.replicas).contains(&may_go);
    (!guards).then(|| format!("{may_go} of {} pods may go: a drain ends all or none", workload.replicas))
}

fn check_policy(policy: &NetworkPolicy, manifests: &Manifests) -> Vec<String> {
    let Some(spec) = &policy.spec else { return vec!["no spec".to_owned()] };
    let workload = match only(labels_of(spec.pod_selector.as_ref()), manifests) {
        Ok(workload) => workload,
        Err(why) => return vec![why],
    };
    let mut problems = Vec::new();
    for rule in spec.ingress.iter().flatten() {
        let peers: Vec<_> = rule.from.iter().flatten().filter_map(|peer| peer.pod_selector.as_ref()).collect();
        let from_job = peers.iter().any(|peer| !selected(labels_of(Some(peer)), manifests).is_empty());
        if !from_job {
            problems.push("it keeps the job's own pods out".to_owned());
        }
        let ports = rule.ports.iter().flatten().filter_map(|port| port.port.as_ref()).map(text_of);
        let missing = ports.filter(|port| !workload.has_port(port));
        problems.extend(missing.map(|port| format!("no container of {} listens at port {port}", workload.name)));
    }
    problems
}

fn check_workload(workload: &Workload, manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, why: &str| {
        if !holds {
            problems.push(why.to_owned());
        }
    };
    let is_this = |selector: Option<&LabelSelector>| {
        only(labels_of(selector), manifests).is_ok_and(|selected| selected.name == workload.name)
    };
    require(
        is_this(Some(&workload.selector)),
        "its selector does not match the labels of its own pods, or of others too",
    );
    let pod = &workload.pod;
    let account = pod.service_account_name.as_ref();
    require(
        manifests.accounts.iter().any(|known| known.metadata.name.as_ref() == account),
        "there is no such ServiceAccount",
    );
    for constraint in pod.topology_spread_constraints.iter().flatten() {
        require(is_this(constraint.label_selector.as_ref()), "it is spread by other pods than its own");
    }
    let apart = pod.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms = apart.and_then(|apart| apart.preferred_during_scheduling_ignored_during_execution.as_ref());
    for term in terms.into_iter().flatten() {
        require(
            is_this(term.pod_affinity_term.label_selector.as_ref()),
            "it is kept apart from other pods than its own",
        );
    }
    require(
        manifests.budgets.iter().any(|budget| is_this(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))),
        "no PodDisruptionBudget selects it",
    );
    require(
        manifests
            .policies
            .iter()
            .any(|policy| is_this(policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()))),
        "no NetworkPolicy selects it",
    );
    if let Some(name) = &workload.service {
        let service = manifests.services.iter().find(|service| service.metadata.name.as_ref() == Some(name));
        let spec = service.and_then(|service| service.spec.as_ref());
        require(
            spec.is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None")),
            "its service is not a headless one",
        );
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        require(only(selector, manifests).is_ok_and(|it| it.name == workload.name), "its service is of other pods");
    }
    problems
}

/// Volumes are of claims that are there, and what is mounted is a volume.
fn check_volumes(workload: &Workload, manifests: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    let volumes = || workload.pod.volumes.iter().flatten();
    for claim in volumes().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
        if !manifests.claims.iter().any(|known| known.metadata.name.as_ref() == Some(&claim.claim_name)) {
            problems.push(format!("there is no PersistentVolumeClaim {}", claim.claim_name));
        }
    }
    for mount in workload.container().volume_mounts.iter().flatten() {
        if !volumes().any(|volume| volume.name == mount.name) && !workload.claims.contains(&mount.name) {
            problems.push(format!("there is no volume {} to mount", mount.name));
        }
    }
    problems
}

fn text_of(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}
