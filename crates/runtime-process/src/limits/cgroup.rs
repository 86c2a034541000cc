//! Control groups. Every life of this program has a directory `geminga-<pid>` under its own group, and each instance one in that.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The period CPU quotas are given for.
const CPU_PERIOD_US: f64 = 100_000.0;

/// Where groups are made.
#[derive(Debug)]
pub(super) enum Base {
    /// One directory for all controllers.
    V2(PathBuf),
    /// One for each controller; those that can be written.
    V1(Vec<(Controller, PathBuf)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V2(path) => write!(f, "cgroup v2 {}", path.display()),
            Self::V1(controllers) => {
                let names: Vec<_> = controllers.iter().map(|(controller, _)| controller.name()).collect();
                write!(f, "cgroup v1 {}", names.join(", "))
            }
        }
    }
}

impl Base {
    /// What can be written; memory or pids at least.
    pub(super) fn detect() -> Option<Self> {
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::v2(&ours, &mounts).or_else(|| Self::v1(&ours, &mounts))
    }

    fn v2(ours: &str, mounts: &str) -> Option<Self> {
        let mount = mount_point(mounts, |kind, _| kind == "cgroup2")?;
        let group = group_under(&mount, ours.lines().find_map(|line| line.strip_prefix("0::"))?);
        let offered = fs::read_to_string(group.join("cgroup.controllers")).ok()?;
        let has = |name: &str| offered.split_whitespace().any(|offered| offered == name);
        if !has("memory") || !has("pids") {
            return None;
        }
        // A group that gives controllers on may hold no processes. Where we are alone in ours, we move one down.
        let enable: Vec<_> = ["memory", "pids", "cpu"].into_iter().filter(|name| has(name)).collect();
        let enable = enable.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        if fs::write(group.join("cgroup.subtree_control"), &enable).is_err() {
            let alone = fs::read_to_string(group.join("cgroup.procs")).ok()?.trim() == std::process::id().to_string();
            let down = group.join("geminga");
            if !alone || (fs::create_dir(&down).is_err() && !down.is_dir()) {
                return None;
            }
            fs::write(down.join("cgroup.procs"), "0").ok()?;
            fs::write(group.join("cgroup.subtree_control"), &enable).ok()?;
        }
        let ours = own_directory(&group)?;
        fs::write(ours.join("cgroup.subtree_control"), &enable).ok()?;
        Some(Self::V2(ours))
    }

    fn v1(ours: &str, mounts: &str) -> Option<Self> {
        let mut controllers = Vec::new();
        for controller in Controller::ALL {
            let is_it = |list: &str| list.split(',').any(|name| name == controller.name());
            let group = ours.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                fields.next().filter(|list| is_it(list)).and(fields.next())
            });
            let mount = mount_point(mounts, |kind, options| kind == "cgroup" && is_it(options));
            if let (Some(group), Some(mount)) = (group, mount)
                && let Some(ours) = own_directory(&group_under(&mount, group))
            {
                controllers.push((controller, ours));
            }
        }
        let has = |wanted| controllers.iter().any(|(controller, _)| *controller == wanted);
        (has(Controller::Memory) || has(Controller::Pids)).then_some(Self::V1(controllers))
    }

    /// Makes a group for one instance.
    pub(super) fn group(&self, name: &str, limits: &functions::spec::Limits, tasks_max: u64) -> io::Result<Group> {
        let quota = limits.cpu.filter(|cores| *cores > 0.0).map(|cores| (cores * CPU_PERIOD_US).max(1000.0) as u64);
        match self {
            Self::V2(base) => {
                let path = base.join(name);
                fs::create_dir(&path)?;
                let group = Group { paths: vec![(None, path.clone())], limits_memory: limits.ram_bytes.is_some() };
                set(&path, "pids.max", tasks_max)?;
                if let Some(bytes) = limits.ram_bytes {
                    set(&path, "memory.max", bytes)?;
                    let _ = set(&path, "memory.swap.max", 0);
                    let _ = set(&path, "memory.oom.group", 1);
                }
                if let Some(quota) = quota {
                    let _ = fs::write(path.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"));
                }
                Ok(group)
            }
            Self::V1(controllers) => {
                let mut group = Group { paths: Vec::new(), limits_memory: false };
                for (controller, base) in controllers {
                    let path = base.join(name);
                    match controller {
                        Controller::Memory => {
                            let Some(bytes) = limits.ram_bytes else { continue };
                            fs::create_dir(&path)?;
                            group.paths.push((Some(*controller), path.clone()));
                            set(&path, "memory.limit_in_bytes", bytes)?;
                            let _ = set(&path, "memory.memsw.limit_in_bytes", bytes);
                            group.limits_memory = true;
                        }
                        Controller::Pids => {
                            fs::create_dir(&path)?;
                            group.paths.push((Some(*controller), path.clone()));
                            set(&path, "pids.max", tasks_max)?;
                        }
                        Controller::Cpu => {
                            let Some(quota) = quota else { continue };
                            fs::create_dir(&path)?;
                            group.paths.push((Some(*controller), path.clone()));
                            let _ = set(&path, "cpu.cfs_quota_us", quota);
                        }
                    }
                }
                Ok(group)
            }
        }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        match self {
            Self::V2(path) => drop(fs::remove_dir(path)),
            Self::V1(controllers) => controllers.iter().for_each(|(_, path)| drop(fs::remove_dir(path))),
        }
    }
}

/// The group of one instance; dropped, what is in it is killed and the group goes.
#[derive(Debug)]
pub(super) struct Group {
    paths: Vec<(Option<Controller>, PathBuf)>,
    limits_memory: bool,
}

impl Group {
    pub(super) fn join_files(&self) -> io::Result<Vec<File>> {
        self.paths.iter().map(|(_, path)| OpenOptions::new().write(true).open(path.join("cgroup.procs"))).collect()
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.limits_memory
    }

    /// Where CPU time and memory are counted together.
    pub(super) fn measured(&self) -> Option<PathBuf> {
        self.paths.iter().find(|(controller, _)| controller.is_none()).map(|(_, path)| path.clone())
    }

    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.paths.iter().any(|(controller, path)| {
            let file = match controller {
                None => "memory.events",
                Some(Controller::Memory) => "memory.oom_control",
                Some(_) => return false,
            };
            let events = fs::read_to_string(path.join(file)).unwrap_or_default();
            events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }

    /// Kills all that is in it, and waits a moment until it is empty. False when there is no group to go by.
    pub(super) async fn kill(&self) -> bool {
        for _ in 0..100 {
            if self.kill_once() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        !self.paths.is_empty()
    }

    /// Returns how many there were.
    fn kill_once(&self) -> usize {
        let Some((controller, path)) = self.paths.first() else { return 0 };
        let inside = processes(path);
        if controller.is_none() && !inside.is_empty() && fs::write(path.join("cgroup.kill"), "1").is_ok() {
            return inside.len();
        }
        kill_all(&inside);
        inside.len()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_once();
        for (_, path) in &self.paths {
            let _ = fs::remove_dir(path); // what cannot be removed yet, the next start of the program removes
        }
    }
}

fn set(group: &Path, file: &str, value: u64) -> io::Result<()> {
    fs::write(group.join(file), value.to_string())
}

fn kill_all(processes: &[Pid]) {
    for pid in processes {
        let _ = kill_process(*pid, Signal::KILL); // it may have ended by itself
    }
}

fn processes(group: &Path) -> Vec<Pid> {
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)).collect()
}

/// The directory of this life of the program, made if it can be. Those of dead ones are emptied and removed.
fn own_directory(group: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(group).ok()?.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix("geminga-")).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            sweep(&entry.path());
        }
    }
    let ours = group.join(format!("geminga-{}", std::process::id()));
    match fs::create_dir(&ours) {
        Ok(()) => Some(ours),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some(ours),
        Err(_) => None,
    }
}

fn sweep(dead: &Path) {
    for instance in fs::read_dir(dead).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        kill_all(&processes(&instance.path()));
        let _ = fs::remove_dir(instance.path());
    }
    let _ = fs::remove_dir(dead);
}

/// Where a file system is mounted. `wanted` sees its type and its options.
fn mount_point(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        wanted(kind, options).then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Our group as this mount shows it: within a container, the path of `/proc/self/cgroup` may be one of the host.
fn group_under(mount: &Path, group: &str) -> PathBuf {
    let path = mount.join(group.trim_start_matches('/'));
    if path.is_dir() { path } else { mount.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_version_2_is_given_all_limits() {
        let base = tempfile::tempdir().unwrap();
        let limits = functions::spec::Limits { cpu: Some(0.5), ram_bytes: Some(64 << 20), disk_bytes: None };
        // A plain directory takes what a control group would be told.
        let group = Base::V2(base.path().to_owned()).group("g", &limits, 40).unwrap();
        let told = |file: &str| fs::read_to_string(base.path().join("g").join(file)).unwrap();
        assert_eq!(told("memory.max"), "67108864");
        assert_eq!(told("memory.oom.group"), "1");
        assert_eq!(told("pids.max"), "40");
        assert_eq!(told("cpu.max"), "50000 100000");
        assert!(group.limits_memory() && !group.ran_out_of_memory());
        fs::write(base.path().join("g/memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        assert!(group.ran_out_of_memory());
    }

    #[test]
    fn mounts_are_found_as_machines_have_them() {
        let mounts = "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n\
                      31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      34 33 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      garbage\n";
        assert_eq!(mount_point(mounts, |kind, _| kind == "cgroup2"), Some("/sys/fs/cgroup".into()));
        let has_cpu = |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|option| option == "cpu");
        assert_eq!(mount_point(mounts, has_cpu), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount_point(mounts, |kind, _| kind == "tmpfs"), None);
    }
}
