//! Programs of this machine, found where this process finds them: what a function's environment says of `PATH` is for its own code.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A program by its path, or by its name as a shell finds it; absolute, since an instance has a directory of its own.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    find_on(&env::var_os("PATH").unwrap_or_default(), program)
}

fn find_on(path: &OsStr, program: &Path) -> Option<PathBuf> {
    let found = if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        Some(program.to_owned()).filter(|path| is_program(path))
    } else {
        env::split_paths(path).map(|directory| directory.join(program)).find(|path| is_program(path))
    };
    std::path::absolute(found?).ok()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it_and_its_path_is_absolute() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let put = |dir: usize, name: &str, mode| {
            let path = dirs[dir].path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        put(0, "java", 0o644);
        let (first, second) = (put(0, "first", 0o755), put(1, "java", 0o755));
        let path = env::join_paths(dirs.iter().map(tempfile::TempDir::path)).unwrap();
        let find = |program: &str| find_on(&path, Path::new(program));
        assert_eq!(find("java"), Some(second), "what cannot be run is passed over");
        assert_eq!(find("first"), Some(first.clone()));
        assert_eq!(find(first.to_str().unwrap()), Some(first), "a path is no name");
        assert_eq!([find("none"), find("./java"), find("")], [None, None, None]);
    }

    #[test]
    fn what_is_relative_is_of_the_directory_this_process_is_in() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = dir.path().join("tool");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let name = Path::new(dir.path().file_name().unwrap());
        let absolute = std::path::absolute(name.join("tool")).unwrap();
        assert_eq!(find(&name.join("tool")), Some(absolute.clone()));
        assert_eq!(find_on(name.as_os_str(), Path::new("tool")), Some(absolute));
    }
}
