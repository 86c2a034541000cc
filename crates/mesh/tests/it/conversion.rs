//! Each field of a spec comes to the field of the configuration that the operator hands to an instance.

use crate::function;
use mesh::{Config, Manifest, Node, Place};
use serde_json::{Value, json};

/// The one node of a manifest without mistakes.
fn node(yaml: &str) -> Node {
    let (mut manifest, problems) = Manifest::parse(yaml);
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == mesh::Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(manifest.nodes.len(), 1);
    manifest.nodes.remove(0)
}

fn config(node: &Node) -> Value {
    match &node.config {
        Config::Function(config) => serde_json::to_value(config).unwrap(),
        Config::Source(config) => serde_json::to_value(config).unwrap(),
        Config::Sink(config) => serde_json::to_value(config).unwrap(),
    }
}

/// The fields of `expected` are those of `found`, which may have more.
fn has(found: &Value, expected: Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name}");
    }
}

#[test]
fn a_function_keeps_everything_it_says() {
    let node = node(
        r"
apiVersion: compute.functionmesh.io/v1alpha1
kind: Function
metadata: {name: object-name, namespace: kube}
spec:
  name: f
  tenant: t
  namespace: n
  className: acme.F
  replicas: 2
  input:
    typeClassName: java.lang.String
    topics: [one]
    topicPattern: persistent://t/n/p-.*
    customSerdeSources: {two: acme.Serde}
    customSchemaSources: {three: avro, four: '{schemaType: json}', five: '{\x22schemaType\x22: \x22json\x22}'}
    sourceSpecs:
      six:
        schemaType: avro
        isRegexPattern: false
        schemaProperties: {a: b}
        consumerProperties: {c: d}
        receiverQueueSize: 7
        cryptoConfig: {cryptoKeyReaderClassName: acme.Keys, cryptoKeyReaderConfig: {PUBLIC: k}, encryptionKeys: [key], consumerCryptoFailureAction: DISCARD}
        messagePayloadProcessorConfig: {className: acme.Processor, config: {x: 1}}
        poolMessages: true
      seven: {serdeClassname: acme.Other}
  output:
    typeClassName: java.lang.Integer
    topic: out
    sinkSchemaType: json
    customSchemaSinks: {out: '{}'}
    producerConf:
      maxPendingMessages: 8
      maxPendingMessagesAcrossPartitions: 9
      useThreadLocalProducers: true
      batchBuilder: KEY_BASED
      compressionType: ZSTD
      batchingConfig: {enabled: true, batchingMaxMessages: 10}
  logTopic: logs
  funcConfig: {a: 1, nested: {b: [c]}}
  secretsMap: {token: {path: keys, key: token}}
  timeout: 5000
  autoAck: true
  maxMessageRetry: 3
  processingGuarantee: atleast_once
  retainKeyOrdering: true
  deadLetterTopic: dead
  forwardSourceMessageProperty: false
  maxPendingAsyncRequests: 11
  runtimeFlags: -Xfirst
  subscriptionName: s
  cleanupSubscription: true
  subscriptionPosition: earliest
  skipToLatest: true
  resources: {requests: {cpu: 250m, memory: 1Gi}, limits: {cpu: 1, memory: 2Gi, ephemeral-storage: 5Gi}}
  java: {jar: /pulsar/f.jar, jarLocation: 'function://t/n/f@1', javaOpts: [-Xmx1g, '-Da=b c'], log: {level: trace}}
  pulsar: {pulsarConfig: here}
  image: acme/f
  pod: {labels: {a: b}, nodeSelector: {c: d}}
"
        .replace("\\x22", "\"")
        .as_str(),
    );
    has(
        &config(&node),
        json!({
            "name": "f", "tenant": "t", "namespace": "n", "className": "acme.F", "parallelism": 2,
            "inputTypeClassName": "java.lang.String", "outputTypeClassName": "java.lang.Integer",
            "output": "out", "outputSchemaType": "json", "customSchemaOutputs": {"out": "{}"},
            "producerConfig": {
                "maxPendingMessages": 8, "maxPendingMessagesAcrossPartitions": 9, "useThreadLocalProducers": true,
                "batchBuilder": "KEY_BASED", "compressionType": "ZSTD",
                "batchingConfig": {"enabled": true, "batchingMaxPublishDelayMs": 10, "batchingMaxMessages": 10},
            },
            "logTopic": "logs", "logLevel": "DEBUG", "userConfig": {"a": 1, "nested": {"b": ["c"]}},
            "secrets": {"token": {"path": "keys", "key": "token"}},
            "timeoutMs": 5000, "autoAck": true, "maxMessageRetries": 3, "processingGuarantees": "ATLEAST_ONCE",
            "retainOrdering": false, "retainKeyOrdering": true, "deadLetterTopic": "dead",
            "forwardSourceMessageProperty": false, "maxPendingAsyncRequests": 11,
            "runtimeFlags": "-Xfirst -Xmx1g '-Da=b c'", "subName": "s", "cleanupSubscription": true,
            "subscriptionPosition": "Earliest", "skipToLatest": true,
            "resources": {"cpu": 0.25, "ram": 1 << 30, "disk": 5u64 << 30},
            "jar": "function://t/n/f@1", "runtime": "JAVA",
        }),
    );
    let inputs = &config(&node)["inputSpecs"];
    has(&inputs["persistent://t/n/p-.*"], json!({"regexPattern": true}));
    has(&inputs["two"], json!({"serdeClassName": "acme.Serde"}));
    has(&inputs["three"], json!({"schemaType": "avro"}));
    has(&inputs["five"], json!({"schemaType": "json"}));
    has(&inputs["seven"], json!({"serdeClassName": "acme.Other"}));
    has(
        &inputs["six"],
        json!({
            "schemaType": "avro", "schemaProperties": {"a": "b"}, "consumerProperties": {"c": "d"}, "receiverQueueSize": 7,
            "cryptoConfig": {
                "cryptoKeyReaderClassName": "acme.Keys", "cryptoKeyReaderConfig": {"PUBLIC": "k"}, "encryptionKeys": ["key"],
                "consumerCryptoFailureAction": "DISCARD",
            },
            "messagePayloadProcessorConfig": {"className": "acme.Processor", "config": {"x": 1}}, "poolMessages": true,
        }),
    );
    assert!(inputs["one"].is_object());
    let code = node.code.unwrap();
    assert_eq!(
        (code.place, code.location.as_str(), code.file.as_deref()),
        (Place::Package, "function://t/n/f@1", Some("/pulsar/f.jar"))
    );
    assert_eq!(node.object, "object-name");
    assert_eq!(node.limits.unwrap().cpu, Some(1.0));
    assert_eq!(node.kept.keys().collect::<Vec<_>>(), ["image", "pod.labels", "pod.nodeSelector"]);
    assert_eq!(node.kept["pod.labels"], json!({"a": "b"}));
}

#[test]
fn the_environment_has_what_config_maps_and_secrets_say() {
    let text = function(
        "f",
        r"input: {topics: [in]}
pod:
  env:
    - {name: HOST, value: db}
    - {name: MODE, valueFrom: {configMapKeyRef: {name: app, key: mode}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: URL, value: 'pg://$(PASSWORD)@$(HOST)/$(LATER)/$$(HOST)'}
    - {name: LATER, value: ''}
    - {name: HOST, value: other}",
    );
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {mode: '$(HOST)'}";
    let node = node(&format!("{text}---\n{config_map}\n"));
    let secret = |at: &mesh::KeyRef| (at.name == "keys" && at.key == "password").then_some("hunter2");
    let values = [
        ("HOST", "other"),
        ("LATER", ""),
        ("MODE", "$(HOST)"),
        ("PASSWORD", "hunter2"),
        ("URL", "pg://hunter2@db/$(LATER)/$(HOST)"),
    ];
    let expected = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(node.environment(secret), Ok(expected));
    assert_eq!(
        node.environment(|_| None).unwrap_err(),
        "variable PASSWORD: there is no key password of a Secret keys in these files"
    );
    assert_eq!(node.kept.keys().collect::<Vec<_>>(), ["pod.env.4.valueFrom.fieldRef"]);
}

#[test]
fn limits_are_those_that_are_written_or_follow_from_requests_as_function_mesh_pads_them() {
    let limits = |resources: &str| {
        let node = node(&function("f", &format!("input: {{topics: [in]}}\n{resources}")));
        node.limits.map(|limits| (limits.cpu, limits.ram, limits.disk))
    };
    assert_eq!(limits("replicas: 1"), None);
    let both = "resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {cpu: 2, memory: 2Gi}}";
    assert_eq!(limits(both), Some((Some(2.0), Some(2 << 30), None)));
    assert_eq!(limits("resources: {requests: {cpu: 100m, memory: 1Gi}}"), Some((None, Some(1 << 30), None)));
    assert_eq!(limits("resources: {limits: {cpu: 500m}}"), Some((Some(0.5), None, None)));
}

#[test]
fn what_nobody_says_is_what_function_mesh_makes_of_it() {
    let node = node(&function("f", "input: {topics: [in]}\ntimeout: 0\nmaxMessageRetry: 0\nsubscriptionName: ''"));
    has(
        &config(&node),
        json!({
            "name": "f", "tenant": "public", "namespace": "default", "parallelism": 1, "cleanupSubscription": false,
            "autoAck": true, "processingGuarantees": "ATLEAST_ONCE", "timeoutMs": null, "maxMessageRetries": null, "subName": null,
            "subscriptionPosition": "Latest", "forwardSourceMessageProperty": true, "maxPendingAsyncRequests": 1000,
        }),
    );
    assert_eq!((node.replicas, node.scaling.is_some()), (1, false));
}

#[test]
fn parts_of_a_mesh_are_called_as_the_operator_calls_them() {
    let (manifest, _) = Manifest::parse(&crate::chain(&[("a", "in", "mid"), ("b", "mid", "out")]));
    let names: Vec<_> =
        manifest.nodes.iter().map(|node| (node.name(), node.object.clone(), node.mesh.clone())).collect();
    let app = Some("app".to_owned());
    assert_eq!(
        names,
        [
            ("public/default/a".to_owned(), "app-a".to_owned(), app.clone()),
            ("public/default/b".to_owned(), "app-b".to_owned(), app)
        ]
    );
}

#[test]
fn code_is_a_file_a_package_a_url_or_built_in() {
    let code = |lines: &str| {
        let yaml = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Function\nmetadata: {name: f}\nspec:\n  className: m.C\n  input: {topics: [in]}\n";
        let node = node(&format!("{yaml}  {lines}\n"));
        let code = node.code.clone().unwrap();
        let config = config(&node);
        let field = ["jar", "py", "go", "wasm", "exec"].into_iter().find(|field| !config[field].is_null()).unwrap();
        (code.place, format!("{field} {}", config[field].as_str().unwrap()), code.file)
    };
    let file = |path: &str| Some(path.to_owned());
    assert_eq!(code("python: {py: lib/f.py}"), (Place::Local, "py lib/f.py".to_owned(), None));
    assert_eq!(
        code("python: {py: /pulsar/f.zip, pyLocation: 'https://host/f.zip'}"),
        (Place::Url, "py https://host/f.zip".to_owned(), file("/pulsar/f.zip"))
    );
    assert_eq!(
        code("python: {py: f.py, pyLocation: lib/f.py}"),
        (Place::Local, "py lib/f.py".to_owned(), file("f.py"))
    );
    assert_eq!(code("python: {py: f.py, pyLocation: public/default/f}"), (Place::Local, "py f.py".to_owned(), None));
    assert_eq!(code("golang: {go: f}"), (Place::Local, "go f".to_owned(), None));
    assert_eq!(code("java: {jar: 'builtin://exclaim'}"), (Place::Builtin, "jar builtin://exclaim".to_owned(), None));
    assert_eq!(
        code("genericRuntime: {functionFile: f.wasm, language: wasm}"),
        (Place::Local, "wasm f.wasm".to_owned(), None)
    );
    assert_eq!(
        code("genericRuntime: {functionFile: f.py, language: python}"),
        (Place::Local, "py f.py".to_owned(), None)
    );
    assert_eq!(
        code("genericRuntime: {functionFile: './a b', language: executable}"),
        (Place::Local, "exec './a b'".to_owned(), None)
    );
    assert_eq!(
        code("genericRuntime: {functionFile: f.js, language: nodejs}"),
        (Place::Local, "exec f.js".to_owned(), None)
    );
}

#[test]
fn connectors_come_from_an_archive_or_the_server() {
    let source = node(
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Source\nmetadata: {name: s}\nspec:\n  sourceType: data-generator\n  output: \
         {topic: out, sinkSchemaType: json}\n  sourceConfig: {a.b: 1}\n  batchSourceConfig: {discoveryTriggererClassName: acme.T, \
         discoveryTriggererConfig: {x: 1}}\n",
    );
    has(
        &config(&source),
        json!({
            "archive": "builtin://data-generator", "topicName": "out", "schemaType": "json", "configs": {"a.b": 1},
            "batchSourceConfig": {"discoveryTriggererClassName": "acme.T", "discoveryTriggererConfig": {"x": 1}},
        }),
    );
    assert_eq!(source.code.unwrap().location, "data-generator");
    let sink = node(
        "apiVersion: compute.functionmesh.io/v1alpha1\nkind: Sink\nmetadata: {name: s}\nspec:\n  className: acme.Sink\n  java: {jar: \
         connectors/a.nar}\n  input: {topics: [in]}\n  sinkConfig: {url: x}\n  negativeAckRedeliveryDelayMs: 7\n  log: {}\n",
    );
    has(
        &config(&sink),
        json!({
            "archive": "connectors/a.nar", "className": "acme.Sink", "configs": {"url": "x"}, "negativeAckRedeliveryDelayMs": 7,
            "cleanupSubscription": false,
        }),
    );
}

#[test]
fn a_window_is_a_function_of_the_users_class() {
    let node = node(&function(
        "f",
        "input: {topics: [in]}\nautoAck: true\nwindowConfig: {actualWindowFunctionClassName: m.W, windowLengthCount: 10, slidingIntervalCount: \
         5, processingGuarantees: ATMOST_ONCE}",
    ));
    let config = config(&node);
    assert_eq!(
        (config["className"].as_str(), config["processingGuarantees"].as_str()),
        (Some("m.W"), Some("ATMOST_ONCE"))
    );
    assert_eq!(config["windowConfig"]["slidingIntervalCount"], 5);
}

#[test]
fn fields_of_function_mesh_choose_the_policy() {
    let scaling = |lines: &str| {
        let node = node(&function(
            "f",
            &format!("input: {{topics: [in]}}\nresources: {{requests: {{cpu: 100m}}, limits: {{cpu: 250m}}}}\n{lines}"),
        ));
        serde_json::to_value(node.scaling).unwrap()
    };
    has(&scaling("maxReplicas: 5"), json!({"minReplicas": 1, "maxReplicas": 5}));
    has(&scaling("replicas: 3\nmaxReplicas: 5"), json!({"minReplicas": 1}));
    has(&scaling("replicas: 0\nmaxReplicas: 5"), json!({"minReplicas": 0}));
    assert!(scaling("maxReplicas: 5")["policy"]["rate"].is_object(), "no metric is named, so it is ours");
    let builtin = scaling(
        "maxReplicas: 5\npod: {builtinAutoscaler: [AverageUtilizationCPUPercent20], autoScalingBehavior: {scaleDown: {stabilizationWindowSeconds: 60}}}",
    );
    assert_eq!(
        builtin["policy"]["hpa"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50,
        "20 % of the limit is 50 % of the request"
    );
    assert_eq!(builtin["policy"]["hpa"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 60);
    let metrics = scaling(
        "maxReplicas: 5\npod: {autoScalingMetrics: [{type: External, external: {metric: {name: backlog}, target: {type: AverageValue, averageValue: 30}}}]}\nminReplicas: 0",
    );
    assert_eq!(metrics["policy"]["hpa"]["metrics"][0]["external"]["metric"]["name"], "backlog");
    assert_eq!(metrics["minReplicas"], 0);
    let chosen =
        scaling("maxReplicas: 5\npod: {annotations: {geminga.io/scaling-policy: '{rate: {targetAge: 500ms}}'}}");
    assert_eq!(chosen["policy"]["rate"]["targetAge"], "500ms");
    assert!(
        scaling("maxReplicas: 5\npod: {annotations: {geminga.io/scaling-policy: keda}}")["policy"]["keda"].is_object()
    );
    let vpa = scaling(
        "replicas: 2\npod: {vpa: {resourcePolicy: {containerPolicies: [{containerName: '*', maxAllowed: {cpu: 1}}]}}}",
    );
    has(&vpa, json!({"minReplicas": 2, "maxReplicas": 2}));
    assert_eq!(vpa["vpa"]["resourcePolicy"]["containerPolicies"][0]["maxAllowed"]["cpu"], "1");
}

#[test]
fn yaml_means_what_it_means_to_kubectl() {
    let yaml = "defaults: &defaults {replicas: 3, autoAck: yes}\n---\n".to_owned();
    assert_eq!(Manifest::parse(&yaml).0.nodes.len(), 0);
    let node = node(&function(
        "f",
        "input: {topics: &topics [in]}\n<<: {replicas: 3, autoAck: yes}\nfuncConfig: {mode: 0644, on: off, text: \"off\", none: ~, big: 1e3}",
    ));
    assert_eq!(node.replicas, 3);
    assert_eq!(
        config(&node)["userConfig"],
        json!({"mode": 420, "on": false, "text": "off", "none": null, "big": 1000.0})
    );
}

#[test]
fn lists_of_kubectl_are_read() {
    let item = "{apiVersion: compute.functionmesh.io/v1alpha1, kind: Function, metadata: {name: f, uid: x, resourceVersion: '1', \
                managedFields: [{}]}, spec: {className: m.C, python: {py: m.py}, input: {topics: [in]}}, status: {replicas: 1}}";
    let node = node(&format!("apiVersion: v1\nkind: List\nitems: [{item}]\n"));
    assert_eq!(node.name(), "public/default/f");
}

#[test]
fn a_node_is_stored_and_read_again() {
    for (_, text) in crate::samples::samples() {
        for node in mesh::check(&[&text]).0.nodes {
            let json = serde_json::to_string(&node).unwrap();
            let again: Node = serde_json::from_str(&json).unwrap();
            assert_eq!(again, Node { origin: again.origin, ..node });
        }
    }
}

#[test]
fn replicas_0_is_off_as_in_function_mesh() {
    for (lines, told) in [
        ("replicas: 0", "8:13: note: replicas is 0: it is off, and nothing wakes it"),
        ("minReplicas: 1\nreplicas: 0", "9:13: note: replicas is 0: it is off, and nothing wakes it"),
        ("replicas: 0\npod: {vpa: {}}", "8:13: note: replicas is 0: it is off, and nothing wakes it"),
        ("minReplicas: 0", "8:16: warning: minReplicas is 0 and nothing wakes it: it is off"),
    ] {
        let yaml = function("f", &format!("input: {{topics: [in]}}\n{lines}"));
        let node = node(&yaml);
        assert_eq!((node.replicas, node.scaling), (0, None), "{lines}");
        let (_, problems) = Manifest::parse(&yaml);
        let shown: Vec<String> = problems.iter().map(|problem| problem.shown(&["app.yaml"])).collect();
        assert!(shown.iter().any(|line| line.starts_with(&format!("app.yaml:{told}"))), "{lines}: {shown:?}");
    }
}
