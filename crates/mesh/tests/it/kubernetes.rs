//! What an API server with Function Mesh's resource definitions refuses or drops, and what runs here all the same, is a warning: the
//! same file goes there later.

use crate::{function, problems};

/// What is told of a spec that is right but for these lines, the first of which is line 8; without the place.
fn told(lines: &str) -> Vec<String> {
    of(&function("f", &format!("input: {{topics: [in]}}\n{lines}")))
}

fn of(yaml: &str) -> Vec<String> {
    problems(yaml).lines().map(|line| line.splitn(4, ':').last().unwrap().trim().to_owned()).collect()
}

#[test]
fn what_the_schemas_of_kubernetes_refuse_is_a_warning() {
    let cases = [
        ("resources: {limits: {cpu: 0.5}}", "warning: spec.resources.limits.cpu: Kubernetes takes 0.5 in quotes only"),
        ("resources: {limits: {cpu: '0.5'}}", ""),
        ("resources: {limits: {cpu: 1.0}}", ""),
        // What has a name and no value is dropped there too; an item of a list is not.
        ("funcConfig:\nminReplicas: ~\npod: {labels: {a: }}", ""),
        (
            "pod: {sidecars: [~]}",
            "warning: spec.pod.sidecars[0] has no value, and Kubernetes refuses that: leave it out",
        ),
        (
            "windowConfig: {windowLengthCount: 5}",
            "warning: actualWindowFunctionClassName is required in spec.windowConfig by Kubernetes, and not here",
        ),
        ("pod: {terminationGracePeriodSeconds: 3000000000}", ""),
        (
            "pod: {terminationGracePeriodSeconds: 9300000000000000000}",
            "warning: spec.pod.terminationGracePeriodSeconds must be a whole number, found 9300000000000000000",
        ),
    ];
    for (lines, expected) in cases {
        let told = told(lines);
        assert_eq!(told.join("\n"), expected, "{lines}");
    }
}

#[test]
fn a_number_of_32_bits_has_no_more() {
    for field in ["windowLengthCount", "slidingIntervalCount"] {
        let lines =
            format!("windowConfig: {{actualWindowFunctionClassName: m.W, windowLengthCount: 1, {field}: 2147483648}}")
                .replace("windowLengthCount: 1, windowLengthCount", "windowLengthCount");
        let expected = format!("error: spec.windowConfig.{field} must be a whole number below 2^31, found 2147483648");
        assert_eq!(told(&lines)[0], expected);
    }
    let lines = "maxMessageRetry: 2147483648";
    assert_eq!(told(lines), ["error: spec.maxMessageRetry must be a whole number below 2^31, found 2147483648"]);
    let long = "windowConfig: {actualWindowFunctionClassName: m.W, windowLengthDurationMs: 2147483648}";
    assert_eq!(told(long), [""; 0]);
}

#[test]
fn parts_of_a_pod_are_looked_at_as_far_as_a_slip_reaches() {
    let cases = [
        ("volumeMounts: [{name: v, path: /v}]", "mountPath is required in spec.volumeMounts[0]"),
        (
            "volumeMounts: [{name: v, mountPath: /v, readonly: yes}]",
            "`readonly` in spec.volumeMounts[0] is spelled `readOnly`: read as that, though Kubernetes drops it",
        ),
        ("pod: {volumes: [{emptyDir: {}}]}", "name is required in spec.pod.volumes[0]"),
        (
            "pod: {initContainers: [{name: i, image: i, command: sleep 1}]}",
            "spec.pod.initContainers[0].command must be a list, found \"sleep 1\": put it in brackets",
        ),
        (
            "pod: {sidecars: [{name: s, image: i, ports: [{containerPort: http}]}]}",
            "spec.pod.sidecars[0].ports[0].containerPort must be a whole number, found \"http\"",
        ),
        (
            "pod: {sidecars: [{name: s, env: [{name: A, value: 1}]}]}",
            "spec.pod.sidecars[0].env[0].value must be a text, found 1: put it in quotes",
        ),
        (
            "pod: {securityContext: {runAsNonRoot: 'yes'}}",
            "spec.pod.securityContext.runAsNonRoot must be true or false, found \"yes\"",
        ),
        (
            "pod: {tolerations: [{key: a, value: 1}]}",
            "spec.pod.tolerations[0].value must be a text, found 1: put it in quotes",
        ),
        (
            "pod: {affinity: {nodeAfinity: {}}}",
            "unknown field `nodeAfinity` in spec.pod.affinity, did you mean `nodeAffinity`?",
        ),
        (
            "pod: {env: [{name: A, valueFrom: {fieldRef: {path: metadata.name}}}]}",
            "fieldPath is required in spec.pod.env[0].valueFrom.fieldRef",
        ),
        (
            "pod: {startupProbe: {periodSeconds: 1s}}",
            "spec.pod.startupProbe.periodSeconds must be a whole number, found \"1s\"",
        ),
        (
            "volumeClaimTemplates: [{metadata: {name: v}, spec: {accessModes: ReadWriteOnce}}]",
            "spec.volumeClaimTemplates[0].spec.accessModes must be a list, found \"ReadWriteOnce\": put it in brackets",
        ),
        (
            "persistentVolumeClaimRetentionPolicy: {whenDeleted: Drop}",
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted must be one of Retain, Delete, found \"Drop\"",
        ),
    ];
    for (lines, expected) in cases {
        let told = told(lines);
        assert!(told.contains(&format!("warning: {expected}")), "{lines}: {told:?}");
        assert!(!told.iter().any(|line| line.starts_with("error")), "{lines}: {told:?}");
    }
}

#[test]
fn a_name_that_kubernetes_refuses_is_told() {
    let good = function("f", "input: {topics: [in]}");
    let why = "is for Kubernetes no name: small letters and digits";
    for name in ["My_Function", "-f", "f.", "\"\"", "größe", "a..b"] {
        let told = of(&good.replace("name: f", &format!("name: {name}")));
        assert!(
            told.iter().any(|line| line.starts_with("warning: metadata.name") && line.contains(why)),
            "{name}: {told:?}"
        );
    }
    for name in ["f", "0a", "a-b.c-1", "'1'"] {
        assert_eq!(of(&good.replace("name: f", &format!("name: {name}"))), [""; 0], "{name}");
    }
    let namespace = of(&good.replace("name: f", "name: f, namespace: My Space"));
    assert!(
        namespace[0].starts_with("warning: metadata.namespace \"My Space\" is for Kubernetes no name"),
        "{namespace:?}"
    );
    // A label may be empty.
    let labels = |value: &str| of(&good.replace("name: f", &format!("name: f, labels: {{app: {value}}}")));
    assert_eq!(labels("''"), [""; 0]);
    assert_eq!(labels("a_B.1"), [""; 0]);
    assert!(
        labels("a b")[0]
            .starts_with("warning: metadata.labels.app \"a b\" is for Kubernetes no label: up to 63 letters")
    );
    assert_eq!(labels("1"), ["warning: metadata.labels.app must be a text, found 1: put it in quotes"]);
}

#[test]
fn a_part_of_a_mesh_has_a_name_on_kubernetes_too() {
    let mesh = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {name: m}\nspec:\n  functions:\n  - {name: NAME, className: m.C, python: {py: m.py}, input: {topics: [in]}}\n";
    let told = of(&mesh.replace("NAME", "My_F"));
    assert!(
        told.contains(
            &"warning: on Kubernetes it is called \"m-My_F\", which is no name of a resource there".to_owned()
        ),
        "{told:?}"
    );
    assert!(!of(&mesh.replace("NAME", "my-f")).iter().any(|line| line.contains("on Kubernetes")));
}

#[test]
fn what_kubernetes_takes_is_taken() {
    let group = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {name: m}\n";
    for mesh in [group.to_owned(), format!("{group}spec: {{}}\n")] {
        assert_eq!(of(&mesh), ["warning: this mesh has no function, no source and no sink"], "{mesh}");
    }
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: }\n";
    assert_eq!(of(&(function("f", "input: {topics: [in]}\nsecretsMap: {a: {path: s, key: k}}") + secret)), [""; 0]);
}

#[test]
fn every_type_of_a_log_configuration_is_taken() {
    for kind in ["xml", "yaml", "ini"] {
        let yaml = function("f", "input: {topics: [in]}")
            .replace("{py: m.py}", &format!("{{py: m.py, log: {{javaLog4JConfigFileType: {kind}}}}}"));
        assert_eq!(of(&yaml), [""; 0], "{kind}");
    }
}
