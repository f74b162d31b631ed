use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tunmesh_protocol::config::{Config, TunSource};
use tunmesh_sys::privileges::Confinement;

/// The agent may read again what it needs for a reload and for name resolution, and nothing else.
pub(super) fn of(path: &Path, config: &Config) -> Confinement {
    let ssl = &config.control_api.ssl;
    let files = [Some(path), Some(&*ssl.cert_file_path), Some(&*ssl.key_file_path), ssl.ca_file_path.as_deref()];
    let resolver = [Path::new("/etc/hosts"), Path::new("/etc/resolv.conf")];
    // The helper is asked again when the device is to change.
    let token = match &config.networking.tun_source {
        TunSource::Helper { token_file, .. } => token_file.as_deref(),
        TunSource::Create | TunSource::Descriptor(_) => None,
    };
    let readable = folders(files.into_iter().flatten().chain(resolver).chain(token));
    Confinement { uid: config.process.uid, gid: config.process.gid.unwrap_or(config.process.uid), readable }
}

/// The folders in which the files are, as files are replaced by renaming, and Kubernetes swaps a link beside them; and those
/// of the files that they are links to, such as a `resolv.conf` that another service writes.
fn folders<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    let mut folders = BTreeSet::new();
    for file in files {
        let target = std::fs::canonicalize(file).ok();
        for parent in [Some(file), target.as_deref()].into_iter().flatten().filter_map(Path::parent) {
            folders.insert(if parent.as_os_str().is_empty() { ".".into() } else { parent.to_owned() });
        }
    }
    folders.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_link_and_of_what_it_leads_to_may_both_be_read() {
        let root = std::env::temp_dir().join(format!("tunmesh-folders-{}", std::process::id()));
        let (etc, run) = (root.join("etc"), root.join("run"));
        for folder in [&etc, &run] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(run.join("stub"), "").unwrap();
        std::os::unix::fs::symlink("../run/stub", etc.join("resolv.conf")).unwrap();
        std::os::unix::fs::symlink("../gone/stub", etc.join("dangling")).unwrap();

        let found = folders([etc.join("resolv.conf"), etc.join("dangling"), "plain".into()].iter().map(AsRef::as_ref));

        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [etc, run, ".".into()]);
    }
}
