//! Memory this process holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Returns the resident set size of this process, in bytes.
///
/// The first call opens `/proc/self/statm` and keeps it open: once the process is confined
/// ([`crate::privileges::confine`], which makes that first call) the file can no longer be opened.
pub fn rss_bytes() -> io::Result<u64> {
    let file = match STATM.get() {
        Some(file) => file,
        None => {
            let opened = File::open("/proc/self/statm")?;
            STATM.get_or_init(|| opened)
        }
    };
    let mut text = [0; 256];
    let len = file.read_at(&mut text, 0)?;
    resident_pages(&text[..len])
        .map(|pages| pages.saturating_mul(page_bytes()))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

static STATM: OnceLock<File> = OnceLock::new();

/// Second field of `statm`: resident pages.
fn resident_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn page_bytes() -> u64 {
    let configured = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    configured.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_written_to_is_resident() {
        let before = rss_bytes().unwrap();

        let block = vec![1_u8; 32 << 20];

        assert!(rss_bytes().unwrap() >= before + (16 << 20), "{} bytes held", block.len());
    }

    #[test]
    fn a_cut_statm_gives_nothing() {
        assert_eq!(resident_pages(b"100 20 3 4 5 6 7\n"), Some(20));
        assert_eq!(resident_pages(b"100"), None);
        assert_eq!(resident_pages(b"\xff"), None);
    }
}
