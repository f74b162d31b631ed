use std::fmt::Write;

use super::schema::{KEYS, Key, Kind, Need, ROOT, Scalar};

/// A commented file with every key: required ones to fill in, all others commented out with their default.
///
/// It is YAML, but cannot be used as it is: `<…>` stands where something must be filled in, and is reported as such.
pub fn example() -> String {
    let mut text = String::from(
        "# A Tun Mesh configuration with every key. Fill in what is marked REQUIRED; the rest is commented out with its default.\n",
    );
    let _infallible = writeln!(text, "# Keys marked \"not in the original\" are refused by Tun Mesh 0.7.\n{ROOT}:");
    group(&mut text, KEYS, 1, false);
    text
}

fn group(text: &mut String, keys: &[Key], depth: usize, commented: bool) {
    for key in keys {
        let indent = "  ".repeat(depth);
        let commented = commented || !matches!(key.need, Need::Required);
        let mark = match key.need {
            Need::Required => "REQUIRED. ",
            Need::Absent | Need::Default(_) => "",
        };
        let addition = if key.ours { " (not in the original)" } else { "" };
        let _infallible = writeln!(text, "\n{indent}# {mark}{}{addition}.", key.short);
        for line in key.long.lines() {
            let _infallible = writeln!(text, "{indent}# {line}");
        }
        if let Kind::List(Scalar::Choice(choices)) | Kind::One(Scalar::Choice(choices)) = key.kind {
            for (word, meaning) in choices {
                let _infallible = writeln!(text, "{indent}#  - {word}: {meaning}");
            }
        } else if !matches!(key.kind, Kind::Group(_) | Kind::Groups(_)) {
            let _infallible = writeln!(text, "{indent}# {}.", capitalised(&key.kind.describe()));
        }
        let hash = if commented { "# " } else { "" };
        let _infallible = match &key.kind {
            Kind::Group(keys) => {
                let _infallible = writeln!(text, "{indent}{hash}{}:", key.name);
                group(text, keys, depth + 1, commented);
                Ok(())
            }
            Kind::Groups(keys) => {
                let _infallible = writeln!(text, "{indent}{hash}{}:\n{indent}  {hash}default:", key.name);
                group(text, keys, depth + 2, commented);
                Ok(())
            }
            Kind::One(Scalar::Version) => writeln!(text, "{indent}{hash}{}: 1.1", key.name),
            Kind::List(Scalar::Url) => {
                writeln!(text, "{indent}{hash}{}:\n{indent}  {hash}- <https://host:port>", key.name)
            }
            kind @ (Kind::Labels | Kind::List(_) | Kind::One(_)) => {
                writeln!(text, "{indent}{hash}{}: {}", key.name, value(key, kind))
            }
        };
    }
}

fn value(key: &Key, kind: &Kind) -> String {
    match key.need {
        Need::Default(text) => text.to_owned(),
        Need::Absent | Need::Required => format!("<{}>", kind.describe()),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
