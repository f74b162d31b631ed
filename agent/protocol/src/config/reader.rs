use std::collections::BTreeMap;
use std::path::Path;

use super::scalar::Wrong;
use super::schema::{KEYS, Key, Kind, Need, ROOT, Scalar};
use super::values::{Value, Values};
use super::yaml::{Content, Node};
use super::{Finding, ParseOptions, scalar};

/// Walks the tree along the schema, collects values and everything that is wrong.
pub(super) struct Reader<'o, 'a> {
    options: &'o mut ParseOptions<'a>,
    problems: Vec<Finding>,
    values: Values,
    warnings: Vec<Finding>,
}

impl<'o, 'a> Reader<'o, 'a> {
    pub(super) fn new(options: &'o mut ParseOptions<'a>) -> Self {
        Self { options, problems: Vec::new(), values: Values::default(), warnings: Vec::new() }
    }

    /// Reads a whole file.
    pub(super) fn read(&mut self, root: &Node) {
        let Content::Map(entries) = &root.content else {
            let finding = Finding::new("", Some(root.line), "it is not a map of keys", format!("begin with `{ROOT}:`"));
            return self.problems.push(finding.with_value(&root.summary()));
        };
        for (name, line, _) in entries.iter().filter(|(name, ..)| name != ROOT) {
            self.warnings.push(Finding::new(
                name,
                Some(*line),
                "it is outside tun_mesh and has no effect",
                "remove it",
            ));
        }
        let mut roots = entries.iter().filter(|(name, ..)| name == ROOT);
        match roots.next_back() {
            Some((_, line, node)) => {
                if roots.next().is_some() {
                    self.warnings.push(Finding::new(ROOT, Some(*line), TWICE, "remove the others"));
                }
                self.group("", KEYS, node);
            }
            None => self.problems.push(Finding::new(ROOT, None, "it is missing", format!("begin with `{ROOT}:`"))),
        }
    }

    /// Values, problems, warnings.
    pub(super) fn finish(self) -> (Values, Vec<Finding>, Vec<Finding>) {
        (self.values, self.problems, self.warnings)
    }

    fn group(&mut self, path: &str, keys: &'static [Key], node: &Node) {
        let Content::Map(entries) = &node.content else {
            return self.wrong(path, node, "it is not a group", "put its keys below it, indented");
        };
        for (name, line, _) in entries.iter().filter(|(name, ..)| !keys.iter().any(|key| key.name == name)) {
            let known: Vec<_> = keys.iter().map(|key| key.name).collect();
            let fix = format!("remove it, or use one of {}", known.join(", "));
            self.problems.push(Finding::new(&shown(path, name), Some(*line), "the key is unknown", fix));
        }
        let found = self.last_of_each(path, entries);
        for key in keys {
            let path = join(path, key.name);
            match found.get(key.name) {
                Some(node) => self.key(&path, key, node),
                None => self.absent(&path, key, node.line),
            }
        }
    }

    fn absent(&mut self, path: &str, key: &'static Key, line: usize) {
        match (&key.need, &key.kind) {
            (Need::Required, kind) => {
                let fix = format!("add {}: {}", key.name, kind.describe());
                self.problems.push(Finding::new(&full(path), Some(line), "the key is missing", fix));
            }
            (Need::Absent, Kind::Group(keys)) => {
                for key in *keys {
                    self.absent(&join(path, key.name), key, line);
                }
            }
            (Need::Default(text), Kind::One(scalar)) => {
                self.values.0.insert(path.to_owned(), (default(scalar, text), None));
            }
            (Need::Default(text), Kind::List(scalar)) => {
                self.values.0.insert(path.to_owned(), (Value::List(default_list(scalar, text)), None));
            }
            // An empty map; there is no other default of these kinds.
            (Need::Default(_), _) => {}
            (Need::Absent, _) => {}
        }
    }

    fn key(&mut self, path: &str, key: &'static Key, node: &Node) {
        match &key.kind {
            Kind::Group(keys) => {
                self.insert(path, node, Value::Group);
                self.group(path, keys, node);
            }
            Kind::Groups(keys) => self.groups(path, keys, node),
            Kind::Labels => self.labels(path, node),
            Kind::List(scalar) => self.list(path, scalar, node),
            Kind::One(scalar) => {
                if let Some(value) = self.scalar(path, scalar, node) {
                    self.insert(path, node, value);
                }
            }
        }
    }

    fn scalar(&mut self, path: &str, kind: &'static Scalar, node: &Node) -> Option<Value> {
        let give = format!("give {}", kind.describe());
        let wrong = match &node.content {
            _ if is_placeholder(kind, node) => Wrong::new("it is still the example's placeholder", give),
            Content::List(_) | Content::Map(_) => Wrong::new("a single value must stand here", give),
            Content::Scalar { .. } if node.is_null() => Wrong::new("it is empty", format!("{give}, or remove the key")),
            Content::Scalar { text, plain } => {
                match scalar::read(kind, text, *plain, self.options.base_dir, self.options.random) {
                    Ok(value) => return Some(value),
                    Err(wrong) => wrong,
                }
            }
        };
        self.wrong(path, node, &wrong.reason, &wrong.fix);
        None
    }

    fn groups(&mut self, path: &str, keys: &'static [Key], node: &Node) {
        let Content::Map(entries) = &node.content else {
            return self.wrong(path, node, "it is not a map of groups", "give groups by name, or {}");
        };
        let groups = self.last_of_each(path, entries);
        self.insert(path, node, Value::Names(groups.keys().map(|name| (*name).to_owned()).collect()));
        for (name, node) in groups {
            self.group(&join(path, name), keys, node);
        }
    }

    fn labels(&mut self, path: &str, node: &Node) {
        let Content::Map(entries) = &node.content else {
            return self.wrong(path, node, "it is not a map", "give names and values, such as env_name: test");
        };
        let mut labels = BTreeMap::new();
        for (name, node) in self.last_of_each(path, entries) {
            let path = join(path, name);
            match &node.content {
                Content::Scalar { .. } if !is_label(name) => {
                    self.wrong(
                        &path,
                        node,
                        "it is not a label name",
                        "use letters, digits and _, not a digit first, and not __ first",
                    );
                }
                Content::Scalar { .. } if METRIC_LABELS.contains(&name) => {
                    let fix = format!("use another name than {}", METRIC_LABELS.join(", "));
                    self.wrong(&path, node, "a metric has a label of that name already", &fix);
                }
                Content::Scalar { text, .. } => {
                    labels.insert(name.to_owned(), text.clone());
                }
                Content::List(_) | Content::Map(_) => {
                    self.wrong(&path, node, "a single value must stand here", "give text")
                }
            }
        }
        self.insert(path, node, Value::Labels(labels));
    }

    /// A list; nothing at all stands for an empty one, as in the original.
    fn list(&mut self, path: &str, kind: &'static Scalar, node: &Node) {
        let mut values = Vec::new();
        match &node.content {
            Content::List(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    values.extend(self.scalar(&join(path, &index.to_string()), kind, entry));
                }
            }
            Content::Map(_) | Content::Scalar { .. } if !node.is_null() => {
                return self.wrong(path, node, "it is not a list", "give a list, such as [a, b], or []");
            }
            Content::Map(_) | Content::Scalar { .. } => {}
        }
        self.insert(path, node, Value::List(values));
    }

    /// The last of each name counts, as in the original.
    fn last_of_each<'n>(&mut self, path: &str, entries: &'n [(String, usize, Node)]) -> BTreeMap<&'n str, &'n Node> {
        let mut last = BTreeMap::new();
        for (name, line, node) in entries {
            if last.insert(name.as_str(), node).is_some() {
                self.warnings.push(Finding::new(&shown(path, name), Some(*line), TWICE, "remove the others"));
            }
        }
        last
    }

    fn insert(&mut self, path: &str, node: &Node, value: Value) {
        self.values.0.insert(path.to_owned(), (value, Some(node.line)));
    }

    fn wrong(&mut self, path: &str, node: &Node, reason: &str, fix: &str) {
        let finding = Finding::new(&full(path), Some(node.line), reason, fix);
        // Whatever stands in this group may be a secret that slipped to the wrong place.
        let may_be_secret = path.starts_with("clustering/auth") && !path.ends_with("/pub_key_size");
        self.problems.push(if may_be_secret { finding } else { finding.with_value(&node.summary()) });
    }
}

/// A default of the schema as a value; the schema's tests read every one.
fn default(kind: &'static Scalar, text: &str) -> Value {
    scalar::read(kind, text, true, Path::new(""), &mut || 0.0)
        .unwrap_or_else(|wrong| unreachable!("the schema's default {text}: {}", wrong.reason))
}

/// A default list of the schema, `[]` or `[a, b]`.
fn default_list(kind: &'static Scalar, text: &str) -> Vec<Value> {
    let entries = text.trim_matches(['[', ']']).split(", ").filter(|entry| !entry.is_empty());
    entries.map(|entry| default(kind, entry)).collect()
}

/// Whether the value is one that our example or the original's has where something must be filled in.
fn is_placeholder(kind: &Scalar, node: &Node) -> bool {
    match &node.content {
        // Unquoted, `[Deployment Unique Value]` is a list of one.
        Content::List(entries) => entries.first().is_some_and(
            |entry| matches!(&entry.content, Content::Scalar { text, .. } if text.starts_with("Deployment Unique")),
        ),
        Content::Map(_) => false,
        // A secret may be any text.
        Content::Scalar { text, .. } if matches!(kind, Scalar::Secret) => *text == format!("<{}>", kind.describe()),
        Content::Scalar { text, .. } => {
            (text.starts_with('<') && text.ends_with('>')) || text.starts_with("[Deployment Unique")
        }
    }
}

/// A label name of Prometheus.
fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("__")
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The path of a name of the user's as it is shown: shortened, and without what may be a secret that lost its key.
fn shown(path: &str, name: &str) -> String {
    let is_word = name.len() <= MAX_WORD && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if path.starts_with("clustering/auth") && !is_word {
        return full(path);
    }
    full(&join(path, &name.chars().take(MAX_NAME).collect::<String>()))
}

/// The path as it is shown, root included.
pub(super) fn full(path: &str) -> String {
    if path.is_empty() { ROOT.to_owned() } else { format!("{ROOT}/{path}") }
}

/// The labels that metrics of a node have, and Prometheus those of histograms (`le`); no base label may have their names, as
/// two labels of one name make Prometheus refuse the whole page.
pub const METRIC_LABELS: &[&str] = &["dest_node_id", "le", "node_id", "peer", "reason", "source_node_id", "version"];

/// Characters of a name that are repeated.
const MAX_NAME: usize = 80;

/// Characters of a misspelt key at most; a secret has more.
const MAX_WORD: usize = 24;

const TWICE: &str = "the key stands there twice; the last one counts";

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(keys: &'static [Key]) -> usize {
        keys.iter()
            .map(|key| match (&key.need, &key.kind) {
                (_, Kind::Group(keys) | Kind::Groups(keys)) => defaults(keys),
                (Need::Default(text), Kind::One(scalar)) => {
                    default(scalar, text);
                    1
                }
                (Need::Default(text), Kind::List(scalar)) => {
                    assert_eq!(default_list(scalar, text).is_empty(), *text == "[]", "{}: {text}", key.name);
                    1
                }
                (Need::Default(text), Kind::Labels) => {
                    assert_eq!(*text, "{}", "{}", key.name);
                    1
                }
                (Need::Absent | Need::Required, _) => 0,
            })
            .sum()
    }

    #[test]
    fn every_default_of_the_schema_is_valid() {
        assert!(defaults(KEYS) > 30);
    }
}
