//! The parts of Kubernetes' own types that are acted on. Source: `k8s.io/api/autoscaling/v2`, `k8s.io/api/core/v1` and
//! `autoscaling.k8s.io/v1` of the Vertical Pod Autoscaler.

use super::{ANY_LIST, Field, Record, Shape, TEXT_MAP, TEXTS, acts, keeps, pod, required};
use Shape::{Any, Bool, Choice, Int, Label, List, Map, Name, Object, Quantity, Text};

/// `metadata`.
pub(super) static METADATA: Record = Record {
    name: "metadata",
    parts: &[&[
        required(acts(
            "name",
            Name,
            "Name of the resource; of the function, source or sink where its spec gives none. A part of a FunctionMesh needs none.",
        )),
        keeps("namespace", Name, "Namespace in Kubernetes; Pulsar's is `spec.namespace`."),
        keeps("labels", Map(&Label), ""),
        keeps("annotations", TEXT_MAP, ""),
        keeps("generateName", Text, ""),
        keeps("finalizers", TEXTS, ""),
        keeps("ownerReferences", ANY_LIST, ""),
        keeps("managedFields", ANY_LIST, ""),
        keeps("uid", Any, ""),
        keeps("resourceVersion", Any, ""),
        keeps("generation", Any, ""),
        keeps("creationTimestamp", Any, ""),
        keeps("deletionTimestamp", Any, ""),
        keeps("deletionGracePeriodSeconds", Any, ""),
        keeps("selfLink", Any, ""),
    ]],
};

/// `resources`.
pub(super) static RESOURCES: Record = Record {
    name: "resources",
    parts: &[&[
        acts(
            "requests",
            Map(&Quantity),
            "What one instance is expected to use: `cpu`, `memory` and `ephemeral-storage` (or `storage`) become `resources` of the configuration. What is not here is taken from `limits`. Disk is not enforced.",
        ),
        acts(
            "limits",
            Map(&Quantity),
            "What one instance may never exceed; what is not here has no limit. Without `limits`, memory is limited to the request; without both, to Pulsar's defaults. A built-in rule's target is its share of the limit.",
        ),
        keeps("claims", ANY_LIST, ""),
    ]],
};

static METRIC_NAME: Record =
    Record { name: "metric", parts: &[&[required(acts("name", Text, "")), keeps("selector", Object, "")]] };

static METRIC_TARGET: Record = Record {
    name: "target",
    parts: &[&[
        required(acts("type", Choice(&["Utilization", "Value", "AverageValue"]), "")),
        acts("averageUtilization", Int(1), "Percent of the request."),
        acts("averageValue", Quantity, ""),
        acts("value", Quantity, ""),
    ]],
};

static RESOURCE_METRIC: Record = Record {
    name: "resource",
    parts: &[&[
        required(acts("name", Text, "`cpu` or `memory`.")),
        required(acts("target", Shape::Record(&METRIC_TARGET), "")),
    ]],
};

static CONTAINER_METRIC: Record = Record {
    name: "containerResource",
    parts: &[&[
        required(acts("name", Text, "`cpu` or `memory`.")),
        required(acts("container", Text, "An instance is one container here.")),
        required(acts("target", Shape::Record(&METRIC_TARGET), "")),
    ]],
};

static OTHER_METRIC: Record = Record {
    name: "pods",
    parts: &[&[
        required(acts("metric", Shape::Record(&METRIC_NAME), "")),
        required(acts("target", Shape::Record(&METRIC_TARGET), "")),
        keeps("describedObject", Object, ""),
    ]],
};

/// One of `autoScalingMetrics`.
pub(super) static METRIC: Record = Record {
    name: "autoScalingMetrics",
    parts: &[&[
        required(acts("type", Choice(&["Resource", "ContainerResource", "Pods", "Object", "External"]), "")),
        acts("resource", Shape::Record(&RESOURCE_METRIC), ""),
        acts("containerResource", Shape::Record(&CONTAINER_METRIC), ""),
        acts("pods", Shape::Record(&OTHER_METRIC), ""),
        acts("object", Shape::Record(&OTHER_METRIC), ""),
        acts("external", Shape::Record(&OTHER_METRIC), ""),
    ]],
};

static POLICY: Record = Record {
    name: "policies",
    parts: &[&[
        required(acts("type", Choice(&["Pods", "Percent"]), "")),
        required(acts("value", Int(1), "")),
        required(acts("periodSeconds", Int(1), "")),
    ]],
};

static RULES: Record = Record {
    name: "scaleUp, scaleDown",
    parts: &[&[
        acts("stabilizationWindowSeconds", Int(0), ""),
        acts("selectPolicy", Choice(&["Max", "Min", "Disabled"]), ""),
        acts("policies", List(&Shape::Record(&POLICY)), ""),
        acts("tolerance", Quantity, ""),
    ]],
};

/// `autoScalingBehavior`.
pub(super) static BEHAVIOR: Record = Record {
    name: "autoScalingBehavior",
    parts: &[&[acts("scaleUp", Shape::Record(&RULES), ""), acts("scaleDown", Shape::Record(&RULES), "")]],
};

static UPDATE_POLICY: Record = Record {
    name: "updatePolicy",
    parts: &[&[
        acts(
            "updateMode",
            Choice(&["Off", "Initial", "Recreate", "InPlaceOrRecreate", "Auto"]),
            "The recommendation is computed; to carry it out is for Kubernetes.",
        ),
        keeps("minReplicas", Int(0), ""),
        keeps("evictionRequirements", ANY_LIST, ""),
    ]],
};

static CONTAINER_POLICY: Record = Record {
    name: "containerPolicies",
    parts: &[&[
        required(acts("containerName", Text, "")),
        acts("mode", Choice(&["Auto", "Off"]), ""),
        acts("minAllowed", Map(&Quantity), ""),
        acts("maxAllowed", Map(&Quantity), ""),
        acts("controlledResources", TEXTS, ""),
        acts("controlledValues", Choice(&["RequestsAndLimits", "RequestsOnly"]), ""),
        keeps("oomBumpUpRatio", Quantity, ""),
        keeps("oomMinBumpUp", Quantity, ""),
    ]],
};

static RESOURCE_POLICY: Record = Record {
    name: "resourcePolicy",
    parts: &[&[acts("containerPolicies", List(&Shape::Record(&CONTAINER_POLICY)), "")]],
};

/// `vpa`.
pub(super) static VPA: Record = Record {
    name: "vpa",
    parts: &[&[
        acts("updatePolicy", Shape::Record(&UPDATE_POLICY), ""),
        acts("resourcePolicy", Shape::Record(&RESOURCE_POLICY), "Bounds of what is recommended."),
        keeps("resourceUnit", Map(&Quantity), ""),
    ]],
};

/// One of `env`.
pub(super) static ENV: Record = Record {
    name: "env",
    parts: &[&[
        required(acts("name", Text, "Names that begin with `GEMINGA_` are Geminga's own.")),
        acts("value", Text, "`$(NAME)` stands for a variable before it, `$$` for `$`."),
        acts("valueFrom", Shape::Record(&VALUE_FROM), "One of these."),
    ]],
};

static VALUE_FROM: Record = Record {
    name: "valueFrom",
    parts: &[&[
        acts("configMapKeyRef", Shape::Record(&KEY_REFERENCE), "From a ConfigMap of the same files."),
        acts("secretKeyRef", Shape::Record(&KEY_REFERENCE), "From a Secret of the same files."),
        keeps("fieldRef", Shape::Core(&pod::FIELD_REFERENCE), "Of a pod: the variable is not there."),
        keeps("resourceFieldRef", Shape::Core(&pod::RESOURCE_REFERENCE), "Of a container: the variable is not there."),
        keeps("fileKeyRef", Object, "Of a volume: the variable is not there."),
    ]],
};

static KEY_REFERENCE: Record = Record {
    name: "key",
    parts: &[&[
        required(acts("name", Text, "")),
        required(acts("key", Text, "")),
        acts("optional", Bool, "Where it is not there, neither is the variable."),
    ]],
};

/// A name within the same namespace.
pub(super) static OBJECT_REFERENCE: Record =
    Record { name: "reference", parts: &[&[acts("name", Text, "")] as &[Field]] };
