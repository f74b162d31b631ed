//! Landlock: which files the process may still open.

use std::fmt;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

/// How far the kernel enforces the file rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileRules {
    /// All of them.
    Full,
    /// The kernel has no Landlock, or it is switched off: only file permissions and the system call filter apply.
    None,
    /// Those an older kernel knows.
    Partial,
}

impl fmt::Display for FileRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::None => "absent",
            Self::Partial => "partial",
        })
    }
}

/// Allows reading `readable` and what is below, and no other access to any file; returns the paths it could not open.
///
/// Signals reach no process outside either. Abstract sockets stay reachable: the node helper listens on one.
pub(super) fn restrict(readable: &[PathBuf]) -> Result<(FileRules, Vec<PathBuf>), RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(FILE_RIGHTS))?
        .scope(Scope::Signal)?
        .create()?;
    let mut unreachable = Vec::new();
    for path in readable {
        match PathFd::new(path) {
            Ok(opened) => rules = rules.add_rule(PathBeneath::new(opened, rights(path)))?,
            Err(_) => unreachable.push(path.clone()),
        }
    }
    let status = rules.restrict_self()?;
    let enforced = match status.ruleset {
        RulesetStatus::FullyEnforced => FileRules::Full,
        RulesetStatus::PartiallyEnforced => FileRules::Partial,
        RulesetStatus::NotEnforced => FileRules::None,
    };
    Ok((enforced, unreachable))
}

/// Listing is a right of directories only. Not `from_read`, which would allow execution too.
fn rights(path: &std::path::Path) -> BitFlags<AccessFs> {
    if path.is_dir() { make_bitflags!(AccessFs::{ReadFile | ReadDir}) } else { make_bitflags!(AccessFs::{ReadFile}) }
}

/// The newest set of file rights without that of connecting to socket files, which the node helper may use.
const FILE_RIGHTS: ABI = ABI::V5;
