//! The parts of a pod that only Kubernetes acts on, as far as a slip of the hand reaches: what a container, a volume or a claim may
//! say, and no deeper. All of it is kept, so what is wrong here is a warning: the API server refuses it or drops it.
//!
//! Source: `k8s.io/api/core/v1` and `apps/v1` as controller-gen writes them into `config/crd/bases` of Function Mesh.

use super::{ANY_LIST, Field, Record, Shape, TEXT_MAP, TEXTS, keeps, kube, required};
use Shape::{Any, Bool, Choice, Core, Int, List, Long, Object, Text};

const INT: Shape = Int(i32::MIN);
const LONG: Shape = Long(i64::MIN);
const RETENTIONS: Shape = Choice(&["Retain", "Delete"]);

const fn own(name: &'static str, shape: Shape) -> Field {
    keeps(name, shape, "")
}

pub(super) static VOLUME_MOUNT: Record = Record {
    name: "volumeMounts",
    parts: &[&[
        required(own("mountPath", Text)),
        own("mountPropagation", Text),
        required(own("name", Text)),
        own("readOnly", Bool),
        own("recursiveReadOnly", Text),
        own("subPath", Text),
        own("subPathExpr", Text),
    ]],
};

pub(super) static TOLERATION: Record = Record {
    name: "tolerations",
    parts: &[&[
        own("effect", Text),
        own("key", Text),
        own("operator", Text),
        own("tolerationSeconds", LONG),
        own("value", Text),
    ]],
};

pub(super) static SECURITY: Record = Record {
    name: "securityContext of a pod",
    parts: &[&[
        own("appArmorProfile", Object),
        own("fsGroup", LONG),
        own("fsGroupChangePolicy", Text),
        own("runAsGroup", LONG),
        own("runAsNonRoot", Bool),
        own("runAsUser", LONG),
        own("seLinuxChangePolicy", Text),
        own("seLinuxOptions", Object),
        own("seccompProfile", Object),
        own("supplementalGroups", ANY_LIST),
        own("supplementalGroupsPolicy", Text),
        own("sysctls", ANY_LIST),
        own("windowsOptions", Object),
    ]],
};

static CONTAINER_SECURITY: Record = Record {
    name: "securityContext of a container",
    parts: &[&[
        own("allowPrivilegeEscalation", Bool),
        own("appArmorProfile", Object),
        own("capabilities", Object),
        own("privileged", Bool),
        own("procMount", Text),
        own("readOnlyRootFilesystem", Bool),
        own("runAsGroup", LONG),
        own("runAsNonRoot", Bool),
        own("runAsUser", LONG),
        own("seLinuxOptions", Object),
        own("seccompProfile", Object),
        own("windowsOptions", Object),
    ]],
};

pub(super) static CONTAINER: Record = Record {
    name: "initContainers, sidecars",
    parts: &[&[
        own("args", TEXTS),
        own("command", TEXTS),
        own("env", List(&Core(&kube::ENV))),
        own("envFrom", List(&Core(&ENV_FROM))),
        own("image", Text),
        own("imagePullPolicy", Text),
        own("lifecycle", Object),
        own("livenessProbe", Core(&PROBE)),
        required(own("name", Text)),
        own("ports", List(&Core(&PORT))),
        own("readinessProbe", Core(&PROBE)),
        own("resizePolicy", ANY_LIST),
        own("resources", Core(&kube::RESOURCES)),
        own("restartPolicy", Text),
        own("restartPolicyRules", ANY_LIST),
        own("securityContext", Core(&CONTAINER_SECURITY)),
        own("startupProbe", Core(&PROBE)),
        own("stdin", Bool),
        own("stdinOnce", Bool),
        own("terminationMessagePath", Text),
        own("terminationMessagePolicy", Text),
        own("tty", Bool),
        own("volumeDevices", ANY_LIST),
        own("volumeMounts", List(&Core(&VOLUME_MOUNT))),
        own("workingDir", Text),
    ]],
};

static ENV_FROM: Record =
    Record { name: "envFrom", parts: &[&[own("configMapRef", Object), own("prefix", Text), own("secretRef", Object)]] };

static PORT: Record = Record {
    name: "ports",
    parts: &[&[
        required(own("containerPort", INT)),
        own("hostIP", Text),
        own("hostPort", INT),
        own("name", Text),
        own("protocol", Text),
    ]],
};

pub(super) static PROBE: Record = Record {
    name: "startupProbe, livenessProbe, readinessProbe",
    parts: &[&[
        own("exec", Object),
        own("failureThreshold", INT),
        own("grpc", Object),
        own("httpGet", Object),
        own("initialDelaySeconds", INT),
        own("periodSeconds", INT),
        own("successThreshold", INT),
        own("tcpSocket", Object),
        own("terminationGracePeriodSeconds", LONG),
        own("timeoutSeconds", INT),
    ]],
};

pub(super) static VOLUME: Record = Record {
    name: "volumes",
    parts: &[&[
        own("awsElasticBlockStore", Object),
        own("azureDisk", Object),
        own("azureFile", Object),
        own("cephfs", Object),
        own("cinder", Object),
        own("configMap", Object),
        own("csi", Object),
        own("downwardAPI", Object),
        own("emptyDir", Object),
        own("ephemeral", Object),
        own("fc", Object),
        own("flexVolume", Object),
        own("flocker", Object),
        own("gcePersistentDisk", Object),
        own("gitRepo", Object),
        own("glusterfs", Object),
        own("hostPath", Object),
        own("image", Object),
        own("iscsi", Object),
        required(own("name", Text)),
        own("nfs", Object),
        own("persistentVolumeClaim", Object),
        own("photonPersistentDisk", Object),
        own("portworxVolume", Object),
        own("projected", Object),
        own("quobyte", Object),
        own("rbd", Object),
        own("scaleIO", Object),
        own("secret", Object),
        own("storageos", Object),
        own("vsphereVolume", Object),
    ]],
};

pub(super) static AFFINITY: Record = Record {
    name: "affinity",
    parts: &[&[own("nodeAffinity", Object), own("podAffinity", Object), own("podAntiAffinity", Object)]],
};

pub(super) static CLAIM: Record = Record {
    name: "volumeClaimTemplates",
    parts: &[&[
        own("apiVersion", Text),
        own("kind", Text),
        own("metadata", Core(&CLAIM_METADATA)),
        own("spec", Core(&CLAIM_SPEC)),
        own("status", Any),
    ]],
};

static CLAIM_METADATA: Record = Record {
    name: "metadata of volumeClaimTemplates",
    parts: &[&[
        own("annotations", TEXT_MAP),
        own("finalizers", TEXTS),
        own("labels", TEXT_MAP),
        own("name", Text),
        own("namespace", Text),
    ]],
};

static CLAIM_SPEC: Record = Record {
    name: "spec of volumeClaimTemplates",
    parts: &[&[
        own("accessModes", TEXTS),
        own("dataSource", Object),
        own("dataSourceRef", Object),
        own("resources", Core(&kube::RESOURCES)),
        own("selector", Object),
        own("storageClassName", Text),
        own("volumeAttributesClassName", Text),
        own("volumeMode", Text),
        own("volumeName", Text),
    ]],
};

pub(super) static RETENTION: Record = Record {
    name: "persistentVolumeClaimRetentionPolicy",
    parts: &[&[own("whenDeleted", RETENTIONS), own("whenScaled", RETENTIONS)]],
};

pub(super) static FIELD_REFERENCE: Record =
    Record { name: "fieldRef", parts: &[&[own("apiVersion", Text), required(own("fieldPath", Text))]] };

pub(super) static RESOURCE_REFERENCE: Record = Record {
    name: "resourceFieldRef",
    parts: &[&[own("containerName", Text), own("divisor", Any), required(own("resource", Text))]],
};
