//! A strict reader of the Prometheus text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// Metrics of one name.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads a page; panics with the line at whatever the format does not allow.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(is_name(name, true), "{line}");
            assert!(name == current || !families.contains_key(name), "not in one group: {line}");
            current = name.to_owned();
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "after its samples: {line}");
            let field = match keyword {
                "HELP" => &mut family.help,
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&rest), "{line}");
                    &mut family.kind
                }
                _ => panic!("{line}"),
            };
            assert!(field.is_empty(), "twice: {line}");
            rest.clone_into(field);
            continue;
        }
        let sample = sample(line);
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("without a type: {line}"));
        let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")), "not in its group: {line}");
        assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
        family.samples.push(sample);
    }
    for (name, family) in &families {
        assert!(!family.kind.is_empty() && !family.help.is_empty() && !family.samples.is_empty(), "{name}: {family:?}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// `name{label="value",…} value`.
fn sample(line: &str) -> Sample {
    let name_len = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(name_len);
    assert!(is_name(name, true), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label, false), "{line}");
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = match after.strip_prefix(',') {
                Some(next) => next,
                None => after,
            };
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "a time stamp: {line}");
    Sample { name: name.to_owned(), labels, value: number(value) }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            char => value.push(char),
        }
    }
    None
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        text => {
            assert!(text.starts_with(|first: char| first.is_ascii_digit() || first == '-'), "{text}");
            text.parse().unwrap_or_else(|_| panic!("{text}"))
        }
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let allowed = |char: char| char.is_ascii_alphanumeric() || char == '_' || (colon && char == ':');
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Buckets grow, end at +Inf, and agree with the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = number(&labels.remove("le").unwrap_or_else(|| panic!("{name}: {sample:?}")));
        series.entry(labels).or_default().push((bound, sample.value));
    }
    assert!(!series.is_empty(), "{name}");
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {buckets:?}");
        let last = buckets.last().unwrap();
        let one = |suffix: &str| {
            let mut found = family.samples.iter().filter(|s| s.name == format!("{name}{suffix}") && s.labels == labels);
            found.next().unwrap_or_else(|| panic!("{name} has no {suffix}")).value
        };
        assert_eq!((last.0, last.1), (f64::INFINITY, one("_count")), "{name}");
        assert!(one("_sum") >= 0.0);
    }
}

#[test]
fn the_reader_reads_what_the_format_allows_and_nothing_else() {
    let page = "# HELP a_total Some\n# TYPE a_total counter\na_total{x=\"q\\\"\\n\"} 1.5e3\na_total 2\n";
    let families = parse(page);
    assert_eq!(families["a_total"].samples[0].labels["x"], "q\"\n");
    assert_eq!(families["a_total"].samples[0].value, 1500.0);

    let broken = [
        "a 1\n",
        "# HELP a A\n# TYPE a gauge\na 1",
        "# HELP a A\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a A\n# TYPE a gauge\nb 1\n",
        "# HELP a A\n# TYPE a gouge\na 1\n",
        "# HELP a A\n# TYPE a gauge\na{x=\"1} 1\n",
        "# HELP a A\n# TYPE a gauge\na one\n",
        "# HELP a A\n# TYPE a counter\na 1\n",
        "# HELP 1a A\n# TYPE 1a gauge\n1a 1\n",
        "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
    ];
    for page in broken {
        assert!(std::panic::catch_unwind(|| parse(page)).is_err(), "{page}");
    }
}
