//! What is started in the pods: with flags and variables that the program knows, probes that it answers, and no privilege.

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};

use crate::manifests::{Manifests, Workload};
use crate::program::Program;

/// What the health service answers for.
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";

/// What is wrong with the containers.
pub fn check(manifests: &Manifests, program: &Program) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in &manifests.workloads {
        let found = [
            check_arguments(workload, program),
            check_variables(workload.container(), manifests, program),
            check_probes(workload),
            check_end(workload),
            check_privileges(&workload.pod),
        ];
        problems.extend(found.into_iter().flatten().map(|why| format!("{}: {why}", workload.name)));
    }
    problems
}

/// The value of a flag of the container, given as `--name=value`.
fn flag<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let arguments = container.args.iter().flatten();
    arguments
        .filter_map(|argument| argument.strip_prefix("--")?.split_once('='))
        .find(|(flag, _)| *flag == name)
        .map(|(_, value)| value)
}

fn port_of(address: &str) -> &str {
    address.rsplit_once(':').map_or("", |(_, port)| port)
}

fn check_arguments(workload: &Workload, program: &Program) -> Vec<String> {
    let container = workload.container();
    let mut problems = Vec::new();
    let mut arguments = container.args.iter().flatten();
    let role = arguments.next().map(String::as_str).unwrap_or_default();
    if !program.roles.contains(role) {
        problems.push(format!("the program has no role {role:?}"));
    }
    for argument in arguments {
        match argument.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
            Some((name, _)) if program.has_flag(name) => {}
            Some((name, _)) => problems.push(format!("the program has no flag --{name}")),
            None => problems.push(format!("{argument:?} is not --name=value")),
        }
    }
    for name in ["listen", "advertise", "health"] {
        let port = flag(container, name).map(port_of);
        if let Some(port) = port.filter(|port| !workload.has_port(port)) {
            problems.push(format!("--{name} has port {port}, which is none of the container's"));
        }
    }
    problems
}

/// Also those that arguments take in as `$(NAME)`.
fn check_variables(container: &Container, manifests: &Manifests, program: &Program) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names: Vec<&str> = container.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    for source in container.env_from.iter().flatten().filter_map(|source| source.config_map_ref.as_ref()) {
        match manifests.config_maps.iter().find(|map| map.metadata.name.as_ref() == Some(&source.name)) {
            Some(map) => names.extend(map.data.iter().flatten().map(|(name, _)| name.as_str())),
            None => problems.push(format!("there is no ConfigMap {}", source.name)),
        }
    }
    let unknown = names.iter().filter(|name| !program.has_variable(name));
    problems.extend(unknown.map(|name| format!("there is no setting {name}")));
    for argument in container.args.iter().flatten() {
        let taken = argument.split("$(").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name);
        problems.extend(taken.filter(|name| !names.contains(name)).map(|name| format!("there is no variable {name}")));
    }
    let addresses = manifests.config_maps.iter().filter_map(|map| map.data.as_ref()?.get("HIGHWATER_JOBMANAGER"));
    let astray = addresses.flat_map(|list| list.split(',')).filter(|address| !is_served(address, manifests));
    problems.extend(astray.map(|address| format!("no Service has the JobManager at {address}")));
    problems
}

fn is_served(address: &str, manifests: &Manifests) -> bool {
    manifests.services.iter().any(|service| {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.into_iter().any(|port| format!("{name}:{}", port.port) == address)
    })
}

/// The program answers probes where `--health` says, and a JobManager, which has none, where it listens.
fn check_probes(workload: &Workload) -> Vec<String> {
    let container = workload.container();
    let address = flag(container, "health").or_else(|| flag(container, "listen")).unwrap_or_default();
    let probes = [
        ("startupProbe", &container.startup_probe, LIVENESS),
        ("livenessProbe", &container.liveness_probe, LIVENESS),
        ("readinessProbe", &container.readiness_probe, READINESS),
    ];
    let wrong = |probe: &Option<Probe>, service: &str| {
        let Some(grpc) = probe.as_ref().and_then(|probe| probe.grpc.as_ref()) else {
            return Some("does not ask over gRPC".to_owned());
        };
        let is_right = grpc.service.as_deref() == Some(service) && grpc.port.to_string() == port_of(address);
        (!is_right).then(|| format!("does not ask the service {service} at {address}"))
    };
    probes.into_iter().filter_map(|(name, probe, service)| Some(format!("{name} {}", wrong(probe, service)?))).collect()
}

/// A TaskManager has the time for a last checkpoint.
fn check_end(workload: &Workload) -> Vec<String> {
    let container = workload.container();
    let seconds = workload.pod.termination_grace_period_seconds.unwrap_or_default();
    let is_task_manager = container.args.iter().flatten().next().is_some_and(|role| role == "taskmanager");
    // More than the default of --leave-timeout.
    let least = if is_task_manager { 61 } else { 10 };
    (seconds < least).then(|| format!("it has {seconds} s to end, which is too short")).into_iter().collect()
}

fn check_privileges(pod: &PodSpec) -> Vec<String> {
    let mut missing = Vec::new();
    let mut require = |holds: bool, what: &str| {
        if !holds {
            missing.push(format!("it lacks {what}"));
        }
    };
    require(pod.containers.len() == 1, "one container");
    require(pod.automount_service_account_token == Some(false), "automountServiceAccountToken: false");
    require(pod.enable_service_links == Some(false), "enableServiceLinks: false");
    let of_pod = pod.security_context.clone().unwrap_or_default();
    require(of_pod.run_as_non_root == Some(true), "runAsNonRoot: true");
    require(of_pod.fs_group.is_some(), "fsGroup");
    require(
        of_pod.seccomp_profile.is_some_and(|profile| profile.type_ == "RuntimeDefault"),
        "seccompProfile: RuntimeDefault",
    );
    for container in &pod.containers {
        let of_container = container.security_context.clone().unwrap_or_default();
        require(of_container.allow_privilege_escalation == Some(false), "allowPrivilegeEscalation: false");
        require(of_container.read_only_root_filesystem == Some(true), "readOnlyRootFilesystem: true");
        let dropped = of_container.capabilities.and_then(|capabilities| capabilities.drop);
        require(dropped.is_some_and(|dropped| dropped == ["ALL"]), "capabilities: drop: [ALL]");
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        require(["cpu", "memory"].iter().all(|what| requests.contains_key(*what)), "requests of cpu and memory");
        // The memory budget of the process is nine tenths of it.
        require(limits.contains_key("memory"), "a limit of memory");
    }
    missing
}
