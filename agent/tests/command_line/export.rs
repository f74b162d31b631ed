//! `tunmesh export`.

use std::fs;
use std::path::PathBuf;

use crate::support::Lab;
use crate::{recorded, said, tunmesh};

#[test]
fn the_file_of_a_device_goes_to_standard_output_and_is_the_same_every_time() {
    let file = NodeFile::new("export");
    let args = ["export", "wg", "--name", "phone", "--config", &file.path()];

    let (code, text, stderr) = said(&tunmesh(&args));

    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(text.contains("\n[Interface]\nPrivateKey = ") && text.contains("\nEndpoint = 10.77.0.1:4567\n"), "{text}");
    assert_eq!(said(&tunmesh(&args)).1, text);
}

#[test]
fn a_qr_code_is_a_square_with_a_margin() {
    let file = NodeFile::new("export-qr");

    let (code, text, stderr) = said(&tunmesh(&["export", "wg", "--qr", "--name", "phone", "--config", &file.path()]));

    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let width = lines[0].len();
    // Two modules of a column share a character; four modules of margin on each side (ISO/IEC 18004, section 5.3.8).
    assert_eq!(lines.len(), width.div_ceil(2));
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.len(), width, "{number}");
        assert!(line[..4].iter().chain(&line[width - 4..]).all(|c| *c == '█' || number == width / 2), "{number}");
    }
    assert!(lines[..2].iter().flatten().all(|c| *c == '█'), "{text}");
    assert!(lines[2..].iter().flatten().any(|c| *c == ' '), "{text}");
}

#[test]
fn a_device_that_is_not_served_is_status_1_with_the_key_and_the_fix() {
    let file = NodeFile::new("export-unknown");
    for (name, extra, parts) in [
        ("fridge", None, ["tun_mesh/networking/wireguard_peers", "\"fridge\"", "Fix: add `fridge: "]),
        ("laptop", Some("--qr"), ["wireguard_peers/laptop/public_key", "hSDwCYkwp1R0i33ctD73Wg2", "Fix: "]),
    ] {
        let args = ["export", "wg", "--name", name, "--config", &file.path()];
        let (code, stdout, stderr) = said(&tunmesh(&[&args[..], extra.as_slice()].concat()));

        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{part:?} is not in {stderr}");
        }
    }
}

/// A file of a node with two devices, beside its certificate, in a folder of its own.
struct NodeFile(PathBuf);

impl NodeFile {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tunmesh-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for file in ["cert.pem", "key.pem"] {
            fs::write(folder.join(file), recorded(&format!("tls/{file}"))).unwrap();
        }
        let devices = "    wireguard_peers:
      laptop: {address: 192.168.129.71, public_key: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=}
      phone: {address: 192.168.129.70}
";
        let text = Lab::text(1, "").replace("networking:\n", &format!("networking:\n{devices}"));
        fs::write(folder.join("config.yaml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.join("config.yaml").to_str().unwrap().to_owned()
    }
}

impl Drop for NodeFile {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
