//! What people give to `kubectl` is taken as it is; where it cannot be, the text says what to do, at the right place.

use crate::{function, problems};
use mesh::Manifest;

/// The lines told of a manifest, each beginning with its place.
fn told(yaml: &str, expected: &[&str]) {
    let told = problems(yaml);
    let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("app.yaml:")).collect();
    assert_eq!(told, expected, "{yaml}");
}

/// The lines of a spec that is right but for them; its first line is 8.
fn spec(lines: &str, expected: &[&str]) {
    told(&function("f", &format!("input: {{topics: [in]}}\n{lines}")), expected);
}

#[test]
fn a_list_of_any_kind_is_its_items() {
    for kind in ["List", "FunctionList"] {
        let item = function("f", "input: {topics: [in]}").replace('\n', "\n  ");
        let yaml = format!("apiVersion: v1\nkind: {kind}\nitems:\n- {}\n", item.trim_end());
        told(&yaml, &[]);
        assert_eq!(Manifest::parse(&yaml).0.nodes.len(), 1, "{kind}");
    }
}

#[test]
fn objects_of_json_may_follow_each_other() {
    let object = |name: &str, more: &str| {
        format!(
            r#"{{"apiVersion": "compute.functionmesh.io/v1alpha1", "kind": "Function", "metadata": {{"name": "{name}"}},
"spec": {{"className": "m.C}}{{\"", "python": {{"py": "m.py"}}, "input": {{"topics": ["in"]}}{more}}}}}"#
        )
    };
    let two = format!("{}\n{}\n", object("f", ""), object("g", ",\n\"replicaz\": 1"));
    assert_eq!(Manifest::parse(&two).0.nodes.len(), 2);
    assert!(problems(&two).contains("app.yaml:5:1: error: unknown field `replicaz` in spec"), "{}", problems(&two));
    assert!(problems(&format!("{} x\n", object("f", ""))).contains("this is no YAML"));
    assert!(problems(&object("f", "")[..60]).contains("error"));
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    for (written, means) in [("2.0", 2), ("1e1", 10), ("0x10", 16)] {
        let yaml = function("f", &format!("input: {{topics: [in]}}\nreplicas: {written}"));
        told(&yaml, &[]);
        assert_eq!(Manifest::parse(&yaml).0.nodes[0].replicas, means, "{written}");
    }
    spec("replicas: 1.5", &["8:13: error: spec.replicas must be a whole number, found 1.5"]);
}

#[test]
fn a_tab_is_told_where_it_is() {
    let tabs = function("f", "input: {topics: [in]}").replace("  python", "\tpython");
    told(&tabs, &["6:1: error: this is no YAML: a tab indents this line, and only spaces do that"]);
}

#[test]
fn a_template_is_told_from_a_manifest() {
    let good = function("f", "input: {topics: [in]}");
    let advice = "`{{` begins a template, and what `helm template` makes of it is a manifest";
    let of = |yaml: &str| problems(yaml);
    assert!(of(&format!("{{{{- if .Values.on }}}}\n{good}{{{{- end }}}}\n")).contains(advice));
    assert!(of(&good.replace("m.C", "{{ .Values.class }}")).contains(advice));
    assert!(!of(&good.replace("m.C", "{a: b}")).contains("template"));
}

#[test]
fn a_secret_may_be_no_text_as_long_as_nobody_asks_for_it() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: tls}\ndata: {store: /////w==, text: YQ==}\n";
    told(&(function("f", "input: {topics: [in]}\nsecretsMap: {a: {path: tls, key: text}}") + secret), &[]);
    told(
        &(function("f", "input: {topics: [in]}\nsecretsMap: {a: {path: tls, key: store}}") + secret),
        &["8:19: error: function public/default/f: a cannot have the value of store of the Secret tls: it is no text"],
    );
    let env = "input: {topics: [in]}\npod: {env: [{name: A, valueFrom: {secretKeyRef: {name: tls, key: store}}}]}";
    told(
        &(function("f", env) + secret),
        &["8:15: error: function public/default/f: A cannot have the value of store of the Secret tls: it is no text"],
    );
    told(
        &(function("f", "input: {topics: [in]}") + &secret.replace("YQ==", "Y")),
        &["12:31: error: data.text is no base64; stringData takes it as it is"],
    );
}

#[test]
fn a_secret_that_is_in_no_file_is_told_where_others_are() {
    let uses = function("f", "input: {topics: [in]}\nsecretsMap: {a: {path: keys, key: k}}");
    told(&uses, &[]);
    // As kustomize leaves it, which does not know that a path is a name.
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\nstringData: {k: v}\n";
    let line = "8:19: warning: function public/default/f: secret a: there is no Secret keys in these files, so that the server's environment must have it";
    told(&(uses.clone() + &secret.replace("NAME", "other")), &[line]);
    told(&(uses.clone() + &secret.replace("NAME", "keis")), &[&format!("{line}; did you mean keis?")]);
    told(&(uses + &secret.replace("NAME", "keys")), &[]);
}

#[test]
fn what_scales_a_function_on_kubernetes_and_not_here_is_a_warning() {
    let other = "---\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: s}\nspec: {scaleTargetRef: {kind: Function, name: f}}\n";
    let good = function("f", "input: {topics: [in]}");
    told(
        &format!("{good}{other}"),
        &[
            "9:1: warning: ScaledObject s has no effect here; minReplicas, maxReplicas and pod.autoScalingMetrics or pod.vpa of Function f have",
        ],
    );
    told(&format!("{good}{}", other.replace("kind: Function, ", "kind: Deployment, ")), &[]);
}

#[test]
fn a_name_is_told_where_it_is() {
    let good = function("f", "input: {topics: [in]}");
    told(
        &good.replace("name: f", "name: \"${NAME}\""),
        &[
            "3:18: error: Function name ${NAME} is invalid: at most 255 letters, digits and any of -=:._",
            "3:18: warning: metadata.name \"${NAME}\" is for Kubernetes no name: small letters and digits, with - and . between them",
        ],
    );
    let twice = problems(&format!("{good}---\n{good}"));
    assert!(
        twice.contains("app.yaml:11:18: error: function public/default/f is here a second time, first in line 3"),
        "{twice}"
    );
}

#[test]
fn a_word_that_yaml_takes_for_something_else_belongs_in_quotes() {
    let off = "pod: {vpa: {updatePolicy: {updateMode: Off}}}";
    let lines = problems(&function("f", &format!("input: {{topics: [in]}}\n{off}")));
    assert!(
        lines.starts_with("app.yaml:8:42: error: ") && lines.trim_end().ends_with("found Off: put it in quotes"),
        "{lines}"
    );
    spec(&off.replace("Off", "\"Off\""), &[]);
}

#[test]
fn a_list_that_is_none_is_told_how_to_become_one() {
    told(
        &function("f", "input: {topics: in}"),
        &["7:19: error: spec.input.topics must be a list, found \"in\": put it in brackets"],
    );
    let mesh = "apiVersion: compute.functionmesh.io/v1alpha1\nkind: FunctionMesh\nmetadata: {name: m}\nspec:\n  sinks:\n    name: s\n";
    told(mesh, &["6:5: error: spec.sinks must be a list, found a mapping: put `- ` before it"]);
}

#[test]
fn code_that_nobody_could_fetch_is_an_error() {
    let from = |location: &str| {
        let lines = format!("input: {{topics: [in]}}\njava: {{jar: a.jar, jarLocation: \"{location}\"}}");
        function("f", &lines).replace("  python: {py: m.py}\n", "")
    };
    told(
        &from("s3://bucket/a.jar"),
        &[
            "7:35: error: jarLocation: s3:// is nothing that code is fetched from: function://, source://, sink://, http://, https:// and file:// are",
        ],
    );
    told(
        &from("function://public/default"),
        &[
            "7:35: error: jarLocation: function://public/default is no package: they are function://tenant/namespace/name@version",
        ],
    );
    for good in ["function://public/default/f", "function://public/default/f@1", "https://example.com/a.jar", ""] {
        told(&from(good), &[]);
    }
}

#[test]
fn a_slip_in_what_has_no_effect_here_is_no_reason_to_refuse() {
    spec(
        "imagePullPolcy: Always",
        &["8:3: warning: unknown field `imagePullPolcy` in spec, did you mean `imagePullPolicy`?"],
    );
    spec("imageHasWget: true", &["8:3: warning: unknown field `imageHasWget` in spec, did you mean `imageHasGet`?"]);
}

#[test]
fn a_pipe_that_came_to_nothing_is_not_right() {
    for empty in ["", "# nothing\n---\n", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"] {
        told(empty, &["1:1: warning: there is no function, no source and no sink"]);
    }
    told("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {}\n", &[]);
}
