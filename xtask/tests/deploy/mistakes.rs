//! Each check, made to find what it is for: the files as they are, with one mistake.

use crate::program::Program;
use crate::{Files, check_manifests, files, program, units};

type Check = fn(&Files, &Program) -> Vec<String>;

/// A mistake: what in which file is replaced by what, and what is said about it.
type Mistake = (&'static str, &'static str, &'static str, &'static str);

const JOB_MANAGER: &str = "jobmanager.yaml";
const TASK_MANAGER: &str = "taskmanager.yaml";
const SETTINGS: &str = "settings.yaml";
const NETWORK: &str = "network.yaml";

/// What a probe asks.
const GRPC: &str = "grpc:\n              port: 6124\n              service: liveness\n";

/// Every mistake is found, by words of its own.
fn found(folder: &str, extension: &str, check: Check, mistakes: &[Mistake]) {
    let (files, program) = (files(folder, extension), program());
    for (file, right, wrong, said) in mistakes {
        let mut files = files.clone();
        let text = files.get_mut(*file).unwrap_or_else(|| panic!("there is no {file}"));
        assert!(text.contains(right), "{file} has no {right:?}");
        *text = text.replacen(right, wrong, 1);
        let problems = check(&files, &program);
        assert!(problems.iter().any(|problem| problem.contains(said)), "{file}: {wrong:?}: {problems:?}");
    }
}

#[test]
fn what_is_no_manifest_is_found() {
    found(
        "kubernetes",
        ".yaml",
        check_manifests,
        &[
            ("access.yaml", "kind: ServiceAccount", "kind: Role", "no kind that a job needs"),
            ("access.yaml", "  name: visitors\n", "  name: visitors\n  namespace: jobs\n", "bound to a namespace"),
            ("access.yaml", "  name: visitors\n", "", "it has no name"),
            (
                JOB_MANAGER,
                "readinessProbe:",
                "readynessProbe:",
                "no field spec.template.spec.containers.0.readynessProbe",
            ),
            (JOB_MANAGER, "replicas: 2", "replicas: two", "Deployment"),
            (JOB_MANAGER, "  replicas: 2", "  replicas: 2\n  replicas: 3", "jobmanager.yaml: "),
            (SETTINGS, "HIGHWATER_CLUSTER_ID: \"1\"", "HIGHWATER_CLUSTER_ID: 1", "ConfigMap"),
            (TASK_MANAGER, "policy/v1", "policy/v1beta1", "no kind that a job needs"),
        ],
    );
}

#[test]
fn objects_that_do_not_fit_together_are_found() {
    let component = "      app.kubernetes.io/component: jobmanager\n";
    found(
        "kubernetes",
        ".yaml",
        check_manifests,
        &[
            (
                JOB_MANAGER,
                component,
                "      app.kubernetes.io/component: manager\n",
                "does not match the labels of its own pods",
            ),
            (JOB_MANAGER, "labels: *labels", "labels: {}", "does not match the labels of its own pods"),
            (
                JOB_MANAGER,
                "  selector:\n    app",
                "  selector:\n    other: pods\n    app",
                "selects the pods of 0 workloads",
            ),
            (
                JOB_MANAGER,
                "    app.kubernetes.io/component: jobmanager\n  ports",
                "  ports",
                "selects the pods of 2 workloads",
            ),
            (JOB_MANAGER, "targetPort: jobmanager", "targetPort: rpc", "listens at port rpc"),
            (JOB_MANAGER, "minAvailable: 1", "minAvailable: 2", "0 of 2 pods may go"),
            (JOB_MANAGER, "serviceAccountName: visitors", "serviceAccountName: other", "no such ServiceAccount"),
            (
                JOB_MANAGER,
                "labelSelector:\n                  matchLabels: *selected",
                "labelSelector: {}",
                "kept apart from other",
            ),
            (JOB_MANAGER, "claimName: visitors-data", "claimName: data", "no PersistentVolumeClaim data"),
            (TASK_MANAGER, "maxUnavailable: 1", "maxUnavailable: 2", "2 of 2 pods may go"),
            (TASK_MANAGER, "kind: PodDisruptionBudget", "kind: Ignored", "no kind that a job needs"),
            (
                TASK_MANAGER,
                "labelSelector:\n            matchLabels: *selected",
                "labelSelector: {}",
                "spread by other",
            ),
            (
                TASK_MANAGER,
                "serviceName: visitors-taskmanagers",
                "serviceName: visitors-jobmanager",
                "not a headless one",
            ),
            (
                TASK_MANAGER,
                "serviceName: visitors-taskmanagers",
                "serviceName: visitors-jobmanager",
                "is of other pods",
            ),
            (TASK_MANAGER, "- name: local-recovery", "- name: local", "no volume local to mount"),
            (NETWORK, "port: 6123", "port: 6124", "listens at port 6124"),
            (NETWORK, "component: taskmanager", "component: worker", "keeps the job's own pods out"),
            (NETWORK, component, "", "selects the pods of 2 workloads"),
        ],
    );
    for (file, said) in [(NETWORK, "no NetworkPolicy selects it"), (SETTINGS, "there is no ConfigMap visitors")] {
        let mut files = files("kubernetes", ".yaml");
        files.remove(file);
        let problems = check_manifests(&files, &program());
        assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
    }
}

#[test]
fn budgets_that_are_missing_are_found() {
    let mut files = files("kubernetes", ".yaml");
    let (without, _) = files[JOB_MANAGER].split_once("---\napiVersion: policy/v1").expect("it has a budget");
    let without = without.to_owned();
    files.insert(JOB_MANAGER.to_owned(), without);
    let problems = check_manifests(&files, &program());
    assert_eq!(problems, ["visitors-jobmanager: no PodDisruptionBudget selects it"]);
}

#[test]
fn containers_that_cannot_run_are_found() {
    found(
        "kubernetes",
        ".yaml",
        check_manifests,
        &[
            (JOB_MANAGER, "- jobmanager\n", "- manager\n", "no role \"manager\""),
            (JOB_MANAGER, "--min-parallelism=", "--minimum=", "no flag --minimum"),
            (JOB_MANAGER, "--min-parallelism=2", "--min-parallelism", "is not --name=value"),
            (JOB_MANAGER, "--output=", "--folder=", "no flag --folder"),
            (JOB_MANAGER, "--listen=0.0.0.0:6123", "--listen=0.0.0.0:6124", "--listen has port 6124"),
            (JOB_MANAGER, "$(POD_IP):6123", "$(POD_IP):6124", "--advertise has port 6124"),
            (JOB_MANAGER, "$(POD_IP)", "$(IP)", "no variable IP"),
            (
                JOB_MANAGER,
                "service: readiness",
                "service: liveness",
                "readinessProbe does not ask the service readiness",
            ),
            (JOB_MANAGER, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 1", "1 s to end"),
            (TASK_MANAGER, "--health=0.0.0.0:6124", "--health=0.0.0.0:6125", "--health has port 6125"),
            (TASK_MANAGER, "port: 6124", "port: 6122", "startupProbe does not ask the service liveness"),
            (TASK_MANAGER, GRPC, "tcpSocket:\n              port: 6124\n", "startupProbe does not ask over gRPC"),
            (TASK_MANAGER, "terminationGracePeriodSeconds: 120", "terminationGracePeriodSeconds: 30", "30 s to end"),
            (SETTINGS, "HIGHWATER_SAVEPOINT_DIR", "HIGHWATER_SAVEPOINTS", "no setting HIGHWATER_SAVEPOINTS"),
            (
                SETTINGS,
                "visitors-jobmanager:6123",
                "visitors-jobmanager:6122",
                "JobManager at visitors-jobmanager:6122",
            ),
        ],
    );
}

#[test]
fn privileges_are_found() {
    let fields = [
        "automountServiceAccountToken: false",
        "enableServiceLinks: false",
        "runAsNonRoot: true",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
    ];
    let opposite = |field: &str| match field.split_once(": ") {
        Some((name, "true")) => format!("{name}: false"),
        Some((name, _)) => format!("{name}: true"),
        None => unreachable!("each is a field with a value"),
    };
    for field in fields {
        let mut files = files("kubernetes", ".yaml");
        let text = files[TASK_MANAGER].replacen(field, &opposite(field), 1);
        files.insert(TASK_MANAGER.to_owned(), text);
        let problems = check_manifests(&files, &program());
        assert_eq!(problems, [format!("visitors-taskmanager: it lacks {field}")]);
    }
    found(
        "kubernetes",
        ".yaml",
        check_manifests,
        &[
            (TASK_MANAGER, "drop: [ALL]", "drop: [NET_RAW]", "it lacks capabilities"),
            (TASK_MANAGER, "type: RuntimeDefault", "type: Unconfined", "it lacks seccompProfile"),
            (TASK_MANAGER, "        fsGroup: 65532\n", "", "it lacks fsGroup"),
            (TASK_MANAGER, "            limits:\n              memory: 4Gi\n", "", "it lacks a limit of memory"),
            (TASK_MANAGER, "              cpu: \"2\"\n", "", "it lacks requests of cpu"),
        ],
    );
}

#[test]
fn units_that_start_nothing_are_found() {
    let (job_manager, task_manager) = ("highwater-jobmanager@.service", "highwater-taskmanager@.service");
    found(
        "systemd",
        ".service",
        units::check,
        &[
            (job_manager, "%i jobmanager", "%i taskmanager", "it starts the role \"taskmanager\""),
            (job_manager, "%i jobmanager", "%i manager", "it starts the role \"manager\""),
            (job_manager, "jobmanager $JOB_ARGS", "jobmanager --fast $JOB_ARGS", "no flag --fast"),
            (job_manager, "HIGHWATER_JOB_NAME", "HIGHWATER_JOB", "no setting HIGHWATER_JOB"),
            (task_manager, "HIGHWATER_SLOTS", "HIGHWATER_SLOT", "no setting HIGHWATER_SLOT"),
        ],
    );
}
