//! Each mistake is told where it is, with what was probably meant, and all of them at once.

use crate::{chain, function, problems};
use expect_test::{Expect, expect};

fn check(yaml: &str, told: Expect) {
    told.assert_eq(&problems(yaml));
}

/// The lines of a spec that is right but for them; its first line is 7.
fn spec(lines: &str, told: Expect) {
    check(&function("f", &format!("input: {{topics: [in]}}\n{lines}")), told);
}

#[test]
fn everything_wrong_with_a_file_is_told_in_one_go() {
    check(
        r"apiVersion: compute.functionmesh.io/v1alpha1
kind: Function
metadata:
  name: prime
spec:
  clasName: prime.Search
  python:
    py: prime.py
  input:
    topics: [data-in]
    topicPatern: persistent://public/default/other-.*
  output:
    topic: data-out
  autoAck: 'yes'
  minReplicas: 5
  maxReplicas: 3
  timeout: 10s
  processingGuarantee: at_least_once
  funcConfig:
    strategy: sieve
    strategyClassName: prime.Sieve
  resources:
    requests: {cpu: 1, memory: 256m}
    limits: {cpu: 500m, memory: 512Mb}
",
        expect![[r#"
            app.yaml:6:3: error: unknown field `clasName` in spec, did you mean `className`?
            app.yaml:11:5: error: unknown field `topicPatern` in spec.input, did you mean `topicPattern`?
            app.yaml:14:12: error: spec.autoAck must be true or false, found "yes"
            app.yaml:15:16: error: minReplicas 5 is above maxReplicas 3
            app.yaml:17:12: error: spec.timeout must be a whole number, found "10s"
            app.yaml:18:24: error: spec.processingGuarantee must be one of atleast_once, atmost_once, effectively_once, manual, found "at_least_once", did you mean atleast_once?
            app.yaml:21:5: warning: funcConfig has both strategy and strategyClassName: one of them is not used; keep the one that is meant
            app.yaml:23:21: error: requests.cpu 1 is above limits.cpu 500m
            app.yaml:23:32: error: memory 256m is 0.256 of a byte, since `m` is a thousandth; did you mean 256Mi?
            app.yaml:24:33: error: spec.resources.limits.memory must be a quantity such as 500m, 2 or 1Gi, found "512Mb", did you mean 512M?
        "#]],
    );
}

#[test]
fn what_is_required_and_missing_is_told() {
    check(
        "kind: Function\nspec: {}\n---\napiVersion: compute.functionmesh.io/v1alpha1\nkind: Funktion\n---\n{}\n---\njust text\n",
        expect![[r#"
            app.yaml:1:1: error: Function name cannot be null
            app.yaml:1:1: error: No input topic(s) specified for the function
            app.yaml:1:1: error: apiVersion is required
            app.yaml:1:1: error: metadata is required
            app.yaml:1:1: error: there is no code: one of java, python, golang and genericRuntime is required
            app.yaml:5:7: error: there is no kind Funktion, did you mean Function?
            app.yaml:7:1: error: a document must be a mapping with apiVersion, kind, metadata and spec
            app.yaml:9:1: error: a document must be a mapping with apiVersion, kind, metadata and spec
        "#]],
    );
}

#[test]
fn broken_yaml_does_not_hide_the_next_document() {
    let good = function("f", "input: {topics: [in]}\nreplicas: many");
    check(
        &format!("kind: [Function\n---\n{good}"),
        expect![[r#"
            app.yaml:1:7: error: this is no YAML: unclosed bracket '['
            app.yaml:10:13: error: spec.replicas must be a whole number, found "many"
        "#]],
    );
}

#[test]
fn a_name_that_is_there_twice_is_told() {
    spec(
        "replicas: 1\nreplicas: 2",
        expect![[r#"
        app.yaml:9:3: error: `replicas` is here a second time, first in line 8
    "#]],
    );
}

#[test]
fn what_is_for_kubernetes_alone_is_never_refused() {
    spec(
        "pod: {labels: {version: 1}, securityContext: [], affinity: [], terminationGracePeriodSeconds: soon}\nimagePullPolicy: Sometimes",
        expect![[r#"
            app.yaml:8:27: warning: spec.pod.labels.version must be a text, found 1: put it in quotes
            app.yaml:8:48: warning: spec.pod.securityContext must be a mapping, found a list
            app.yaml:8:62: warning: spec.pod.affinity must be a mapping, found a list
            app.yaml:8:97: warning: spec.pod.terminationGracePeriodSeconds must be a whole number, found "soon"
            app.yaml:9:20: warning: spec.imagePullPolicy must be one of Always, Never, IfNotPresent, found "Sometimes"
        "#]],
    );
}

#[test]
fn an_environment_that_cannot_be_is_told() {
    spec(
        r"pod:
  env:
    - {nam: x}
    - {name: A=B, value: x}
    - {name: N, value: 1}
    - {name: GEMINGA_INSTANCE, value: x}
    - {name: TWO, value: x, valueFrom: {secretKeyRef: {name: keys, key: a}}}
    - {name: BOTH, valueFrom: {secretKeyRef: {name: keys, key: a}, configMapKeyRef: {name: map, key: a, optional: true}}}
    - {name: GONE, valueFrom: {configMapKeyRef: {name: map, key: a}}}
    - {name: NONE, valueFrom: {configMapKeyRef: {name: map, key: a, optional: true}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}",
        expect![[r#"
            app.yaml:10:10: error: unknown field `nam` in spec.pod.env[0], did you mean `name`?
            app.yaml:11:16: error: A=B is no name of a variable
            app.yaml:12:26: error: spec.pod.env[2].value must be a text, found 1: put it in quotes
            app.yaml:13:16: error: GEMINGA_INSTANCE: names that begin with GEMINGA_ are Geminga's own
            app.yaml:14:9: warning: function public/default/f: variable TWO: there is no Secret keys in these files, and an apply needs it
            app.yaml:14:42: error: the variable TWO has both value and valueFrom
            app.yaml:15:33: error: valueFrom of the variable BOTH has more than one source
            app.yaml:16:9: warning: function public/default/f: variable GONE: there is no ConfigMap map in these files, and an apply needs it
        "#]],
    );
}

#[test]
fn a_variable_without_a_name_is_told() {
    spec(
        r"pod:
  env:
    - {name: '', value: x}
    - {value: x}
    - {name: ~, value: x}
    -
    - {name: EMPTY, valueFrom: {}}
    - {name: FINE, valueFrom: ~}",
        expect![[r#"
            app.yaml:10:16: error: name is required in spec.pod.env[0]
            app.yaml:11:9: error: name is required in spec.pod.env[1]
            app.yaml:12:9: error: name is required in spec.pod.env[2]
            app.yaml:13:8: error: name is required in spec.pod.env[3]
            app.yaml:13:8: warning: spec.pod.env[3] has no value, and Kubernetes refuses that: leave it out
            app.yaml:14:34: error: valueFrom of the variable EMPTY has no source
        "#]],
    );
}

#[test]
fn a_bound_that_is_none_is_told() {
    spec(
        "resources: {requests: {ephemeral-storage: 1Gi, memory: 1Gi}, limits: {memory: 1Gi, ephemeral-storage: 2Gi}}",
        expect![[r#"
            app.yaml:8:105: warning: ephemeral-storage is kept and not enforced: an instance may write what the disk takes
        "#]],
    );
    spec(
        "resources: {requests: {storage: 1Gi}}",
        expect![[r#"
            app.yaml:8:35: warning: storage is kept and not enforced: an instance may write what the disk takes
        "#]],
    );
}

#[test]
fn guarantees_that_contradict_are_told() {
    spec(
        "processingGuarantee: manual\nautoAck: true",
        expect![[r#"
        app.yaml:9:12: error: autoAck: true contradicts processingGuarantee manual, where the function acknowledges
    "#]],
    );
    spec(
        "processingGuarantee: atmost_once\nautoAck: false\ntimeout: 5",
        expect![[r#"
        app.yaml:9:12: error: When Guarantees == ATMOST_ONCE, autoAck must be equal to true. This is a contradictory configuration, autoAck will be removed later. Please refer to PIP: https://github.com/apache/pulsar/issues/15560
        app.yaml:10:12: error: Message timeout can only be specified with processing guarantee is ATLEAST_ONCE
    "#]],
    );
    spec(
        "processingGuarantee: effectively_once\nmaxMessageRetry: 3\nretainKeyOrdering: true\nretainOrdering: true\ndeadLetterTopic: in",
        expect![[r#"
            app.yaml:9:20: error: MaxMessageRetries and Effectively once don't gel well
            app.yaml:10:22: error: Only one of retain ordering or retain key ordering can be set
            app.yaml:10:22: error: When effectively once processing guarantee is specified, retain Key ordering cannot be set
            app.yaml:12:20: error: DeadLetter topic in is also being used as an input topic (topics must be one or the other)
        "#]],
    );
    spec(
        "deadLetterTopic: dead",
        expect![[r#"
        app.yaml:8:20: error: Dead Letter Topic specified, however max retries is set to infinity
    "#]],
    );
}

#[test]
fn replicas_that_cannot_be_are_told() {
    spec(
        "minReplicas: 0",
        expect![[r#"
        app.yaml:8:16: warning: minReplicas is 0 and nothing wakes it: it is off; minReplicas: 0 with a maxReplicas lets it sleep until an event comes
    "#]],
    );
    spec("replicas: 0\nminReplicas: 0\nmaxReplicas: 4", expect![""]);
    spec(
        "replicas: 2\nminReplicas: 3\nmaxReplicas: 1",
        expect![[r#"
        app.yaml:8:13: error: replicas 2 is above maxReplicas 1
        app.yaml:9:16: error: minReplicas 3 is above maxReplicas 1
        app.yaml:9:16: error: minReplicas 3 is above replicas 2
    "#]],
    );
    spec(
        "maxReplicas: 0\nreplicas: -1",
        expect![[r#"
        app.yaml:8:16: error: spec.maxReplicas must be at least 1, found 0
        app.yaml:9:13: error: spec.replicas must be at least 0, found -1
    "#]],
    );
    spec(
        "maxReplicas: 20000",
        expect![[r#"
        app.yaml:8:16: error: maxReplicas 20000 is more than the 10000 instances a function may have
    "#]],
    );
    spec(
        "retainOrdering: true\nmaxReplicas: 4",
        expect![[r#"
        app.yaml:9:16: warning: function public/default/f: its order makes the subscription Failover, where one instance works on a partition; 4 instances need as many partitions, which a manifest does not tell
    "#]],
    );
    check(
        &function(
            "f",
            "input: {topics: [in-partition-0, in-partition-1]}\nprocessingGuarantee: effectively_once\nreplicas: 4",
        ),
        expect![[r#"
            app.yaml:9:13: warning: function public/default/f: its order makes the subscription Failover, where one instance works on a partition; of 4 instances 2 can work
        "#]],
    );
}

#[test]
fn what_is_wrong_with_scaling_is_told_where_it_is_written() {
    spec(
        "maxReplicas: 4
minReplicas: 0
pod:
  builtinAutoscaler: [AverageUtilizationCPUPercent50, AverageUtilizationCPUPercent20, AverageUtilizationCPUPercent30]
  autoScalingMetrics:
  - type: Resource
    resource: {name: disk, target: {type: Utilization, averageUtilization: 50}}
  autoScalingBehavior:
    scaleDown: {stabilizationWindowSeconds: 9999}
  vpa: {updatePolicy: {updateMode: Sometimes}}",
        expect![[r#"
            app.yaml:9:16: error: minReplicas: an HPA goes to 0 only with an Object or External metric, for without instances there is no other
            app.yaml:11:57: error: a second built-in rule for cpu: there can be one
            app.yaml:11:89: error: spec.pod.builtinAutoscaler[2] must be one of AverageUtilizationCPUPercent80, AverageUtilizationCPUPercent50, AverageUtilizationCPUPercent20, AverageUtilizationMemoryPercent80, AverageUtilizationMemoryPercent50, AverageUtilizationMemoryPercent20, found "AverageUtilizationCPUPercent30", did you mean AverageUtilizationCPUPercent80?
            app.yaml:13:7: error: name: "disk" is not measured; cpu and memory are
            app.yaml:16:47: error: stabilizationWindowSeconds: it is from 0 to 3600
            app.yaml:17:38: error: spec.pod.vpa.updatePolicy.updateMode must be one of Off, Initial, Recreate, InPlaceOrRecreate, Auto, found "Sometimes"
        "#]],
    );
    spec(
        "pod: {autoScalingMetrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}",
        expect![[r#"
            app.yaml:8:9: warning: autoScalingMetrics without maxReplicas has no effect: nothing scales
        "#]],
    );
    spec(
        "maxReplicas: 2\npod: {vpa: {}, annotations: {geminga.io/scaling-policy: 'best'}}",
        expect![[r#"
        app.yaml:9:9: error: vpa and maxReplicas exclude each other: both would answer a load, one with size and one with number
        app.yaml:9:59: error: geminga.io/scaling-policy is rate, hpa, keda or knative, or one of them with its parameters, such as {rate: {targetAge: 500ms}}: unknown variant `best`, expected one of `rate`, `hpa`, `keda`, `knative`
    "#]],
    );
}

#[test]
fn a_share_of_what_nobody_requests_is_told() {
    let metric = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}";
    let lines = format!("maxReplicas: 2\npod: {{autoScalingMetrics: [{metric}]}}");
    spec(
        &lines,
        expect![[r#"
        app.yaml:9:30: warning: a utilization is a share of what is requested, and resources.requests.cpu is not there: the default is taken here, and Kubernetes does not scale
    "#]],
    );
    spec(&format!("{lines}\nresources: {{requests: {{cpu: 1}}}}"), expect![[""]]);
}

#[test]
fn topics_that_lead_nowhere_are_told_with_the_one_that_was_meant() {
    check(
        &chain(&[("a", "orders", "prised"), ("b", "priced", "billed")]),
        expect![[r#"
            app.yaml:6:68: warning: function public/default/a: nobody here writes persistent://public/default/orders
            app.yaml:6:94: warning: function public/default/a: nobody here reads persistent://public/default/prised; did you mean persistent://public/default/priced?
            app.yaml:7:68: warning: function public/default/b: nobody here writes persistent://public/default/priced; did you mean persistent://public/default/prised?
            app.yaml:7:94: warning: function public/default/b: nobody here reads persistent://public/default/billed
        "#]],
    );
    spec(
        "output: {topic: 'a/b'}\nlogTopic: 'http://x'",
        expect![[r#"
        app.yaml:8:19: error: Output topic a/b is invalid
        app.yaml:9:13: error: LogTopic topic http://x is invalid
    "#]],
    );
}

#[test]
fn cycles_are_told() {
    check(
        &chain(&[("a", "one", "two"), ("b", "two", "three"), ("c", "three", "one")]),
        expect![[r#"
            app.yaml:6:91: error: a cycle: public/default/a -> public/default/b -> public/default/c -> public/default/a: what goes out comes in again, for ever
        "#]],
    );
    let retry = function("f", "input: {topics: [in]}\noutput: {topic: out}\ndeadLetterTopic: dead\nmaxMessageRetry: 2");
    let again = function("g", "input: {topics: [dead]}\noutput: {topic: in}");
    check(
        &format!("{retry}---\n{again}"),
        expect![[r#"
            app.yaml:8:19: warning: function public/default/f: nobody here reads persistent://public/default/out
            app.yaml:9:20: warning: a cycle by dead letters or late data: public/default/f -> public/default/g -> public/default/f: what always fails goes round for ever
        "#]],
    );
}

#[test]
fn a_reader_that_expects_something_else_is_told() {
    let writer = function(
        "w",
        "input: {topics: [in]}\noutput: {topic: mid, sinkSchemaType: avro, typeClassName: java.lang.String}",
    );
    let reader = |lines: &str| format!("{writer}---\n{}", function("r", lines));
    let told = |lines: &str| {
        problems(&reader(lines)).lines().filter(|line| line.contains("mid")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        told("input: {sourceSpecs: {mid: {schemaType: json}}}"),
        [
            "app.yaml:16:25: error: persistent://public/default/mid: function public/default/w writes it with the schema avro, function public/default/r reads it with json"
        ]
    );
    assert_eq!(told("input: {sourceSpecs: {mid: {schemaType: AVRO}}}"), [""; 0]);
    assert_eq!(told("input: {sourceSpecs: {mid: {schemaType: auto_consume}}}"), [""; 0]);
    assert_eq!(
        told("input: {topics: [mid], typeClassName: java.lang.Integer}"),
        [
            "app.yaml:16:20: warning: persistent://public/default/mid: function public/default/w writes it with the type java.lang.String, function public/default/r reads it with java.lang.Integer"
        ]
    );
    assert_eq!(told("input: {topics: [mid], typeClassName: string}"), [""; 0]);
    assert_eq!(
        told("input: {customSerdeSources: {mid: acme.Serde}}"),
        [
            "app.yaml:16:32: warning: persistent://public/default/mid: one of function public/default/w and function public/default/r has the schema avro, the other the SerDe acme.Serde"
        ]
    );
}

#[test]
fn names_and_subscriptions_that_collide_are_told() {
    let one = function("f", "input: {topics: [in]}\nsubscriptionName: s");
    let two = function("g", "input: {topics: [in]}\nsubscriptionName: s");
    let three = function("h", "input: {topics: [in]}\nsubscriptionName: s\nretainOrdering: true");
    let sink = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Sink\nmetadata: {name: f}\nspec: {sinkType: file, input: {topics: [other]}}\n";
    let told = problems(&[one.as_str(), &two, &three, sink, &one].join("---\n"));
    let told: String =
        told.lines().filter(|line| !line.contains("nobody here")).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        app.yaml:17:21: warning: function public/default/f and function public/default/g share the subscription s of persistent://public/default/in: each message goes to one of them
        app.yaml:26:21: error: function public/default/f reads persistent://public/default/in by s as Shared, function public/default/h as Failover: the second cannot subscribe
        app.yaml:31:18: error: sink public/default/f has the name of the function public/default/f in line 3: the three kinds share their names
        app.yaml:36:18: error: function public/default/f is here a second time, first in line 3
    "#]]
    .assert_eq(&told);
}

#[test]
fn secrets_and_config_maps_are_looked_up() {
    let node = function(
        "f",
        "input: {topics: [in]}\npulsar: {pulsarConfig: here}\nsecretsMap: {token: {path: keys, key: tokn}, other: {path: elsewhere, key: x}}",
    );
    let rest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: here}\ndata: {brokerServiceURL: 'pulsar://b:6650'}\n---\n\
                apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\ndata: {token: aHVudGVyMg==}\nstringData: {plain: text}\n";
    check(
        &format!("{node}---\n{rest}"),
        expect![[r#"
            app.yaml:1:1: warning: function public/default/f: the ConfigMap here has no webServiceURL
            app.yaml:9:23: error: function public/default/f: secret token: the Secret keys has no key tokn, did you mean token?
            app.yaml:9:55: warning: function public/default/f: secret other: there is no Secret elsewhere in these files, so that the server's environment must have it
        "#]],
    );
    let (manifest, _) = mesh::Manifest::parse(rest);
    let secret = |key: &str| manifest.secret(&mesh::SecretRef { path: "keys".to_owned(), key: key.to_owned() });
    assert_eq!(secret("token").map(|secret| secret.reveal()), Some("hunter2"));
    assert_eq!(secret("plain").map(|secret| secret.reveal()), Some("text"));
    assert!(!format!("{manifest:?}").contains("hunter2"), "a secret is not shown");
}

#[test]
fn problems_of_several_files_say_which() {
    let (_, problems) = mesh::check(&[&function("f", "input: {topics: [in]}"), &function("g", "input: {topic: in}")]);
    let shown: Vec<_> = problems.iter().map(|problem| problem.shown(&["a.yaml", "b.yaml"])).collect();
    assert!(
        shown
            .iter()
            .any(|line| line == "b.yaml:7:11: error: unknown field `topic` in spec.input, did you mean `topics`?"),
        "{shown:?}"
    );
}
